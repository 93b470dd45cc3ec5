package entra_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cvconsumer/cvconsumer/pkg/cv/entra"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	client = "0f3b2a77-3a57-4b8c-9a67-5c1c1df0a111"
	secret = "a-client-secret-that-nothing-shows"
	public = "faces.cognitiveservices.azure.com"
)

// authority answers in place of Entra ID, of the endpoints of managed identities, and of whatever
// else is asked.
type authority struct {
	mu     sync.Mutex
	asked  []*http.Request // for tokens
	forms  []url.Values    // of these requests
	issued int
	lives  time.Duration // of a token
	refuse string        // an answer in place of a token
	block  chan struct{} // if it is set, nothing is answered before the caller gives up
}

func (a *authority) Do(req *http.Request) (*http.Response, error) {
	var form url.Values
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		form, _ = url.ParseQuery(string(body))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	answer := func(status int, body any) (*http.Response, error) {
		text, ok := body.(string)
		if !ok {
			encoded, err := json.Marshal(body)
			if err != nil {
				return nil, err
			}
			text = string(encoded)
		}
		return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Content-Type": {"application/json"}},
			Body: io.NopCloser(strings.NewReader(text)), Request: req}, nil
	}
	about := req.URL
	if asked, err := url.Parse(req.URL.Query().Get("authorization_endpoint")); err == nil && asked.Host != "" {
		about = asked
	}
	base := about.Scheme + "://" + about.Host + "/" + tenant
	switch {
	case req.URL.Host == "169.254.169.254": // there is no managed identity here
		return nil, errors.New("no route")
	case strings.HasSuffix(req.URL.Path, "/discovery/instance"):
		return answer(200, map[string]any{"tenant_discovery_endpoint": base + "/v2.0/.well-known/openid-configuration", "metadata": []map[string]any{
			{"preferred_network": about.Host, "preferred_cache": about.Host, "aliases": []string{about.Host}}}})
	case strings.HasSuffix(req.URL.Path, "/openid-configuration"):
		return answer(200, map[string]string{"authorization_endpoint": base + "/authorize", "token_endpoint": base + "/token", "issuer": base})
	}
	a.asked, a.forms = append(a.asked, req), append(a.forms, form)
	if a.block != nil {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	if a.refuse != "" {
		return answer(401, a.refuse)
	}
	a.issued++
	return answer(200, map[string]any{
		"access_token": fmt.Sprintf("token-%d", a.issued), "token_type": "Bearer", "resource": "r",
		"expires_in": int(a.lives.Seconds()), "expires_on": fmt.Sprint(time.Now().Add(a.lives).Unix()),
	})
}

// environment has these variables alone of all that the chain reads.
func environment(t *testing.T, vars map[string]string) {
	t.Helper()
	for _, name := range []string{"AZURE_AUTHORITY_HOST", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE",
		"AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_TOKEN_CREDENTIALS", "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT"} {
		t.Setenv(name, "")
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", t.TempDir()) // without the Azure CLI of this machine
	for name, value := range vars {
		t.Setenv(name, value)
	}
}

func clientSecret() map[string]string {
	return map[string]string{"AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": client, "AZURE_CLIENT_SECRET": secret}
}

// TestIdentities gets a token as each kind of identity of the default chain.
func TestIdentities(t *testing.T) {
	assertion := filepath.Join(t.TempDir(), "assertion")
	if err := os.WriteFile(assertion, []byte("pod-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		vars  map[string]string
		check func(req *http.Request, form url.Values) bool
	}{
		{"client secret", clientSecret(), func(_ *http.Request, form url.Values) bool { return form.Get("client_secret") == secret }},
		{"workload identity", map[string]string{"AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": client, "AZURE_FEDERATED_TOKEN_FILE": assertion},
			func(_ *http.Request, form url.Values) bool { return form.Get("client_assertion") == "pod-token" }},
		{"managed identity", map[string]string{"IDENTITY_ENDPOINT": "http://127.0.0.1:1/msi", "IDENTITY_HEADER": "header", "AZURE_CLIENT_ID": client},
			func(req *http.Request, _ url.Values) bool {
				return req.Header.Get("X-Identity-Header") == "header" && req.URL.Query().Get("client_id") == client
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			environment(t, c.vars)
			a := &authority{lives: time.Hour}
			s, err := entra.New(public, entra.Options{HTTP: a})
			if err != nil {
				t.Fatal(err)
			}
			if token, err := s.Token(t.Context()); token != "token-1" || err != nil {
				t.Fatal(token, err)
			}
			if last := len(a.asked) - 1; !c.check(a.asked[last], a.forms[last]) {
				t.Errorf("asked %s with %v", a.asked[last].URL, a.forms[last])
			}
		})
	}
}

// TestAzureCLI gets a token from the Azure CLI, and asks it once.
func TestAzureCLI(t *testing.T) {
	environment(t, map[string]string{"AZURE_TOKEN_CREDENTIALS": "AzureCLICredential"})
	dir := t.TempDir()
	script := "#!/bin/sh\necho called >> " + dir + "/calls\n" +
		`echo '{"accessToken":"cli-token","expires_on":` + fmt.Sprint(time.Now().Add(time.Hour).Unix()) + `,"tokenType":"Bearer"}'` + "\n"
	if err := os.WriteFile(filepath.Join(dir, "az"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/bin:/usr/bin")
	s, err := entra.New(public, entra.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if token, err := s.Token(t.Context()); token != "cli-token" || err != nil {
			t.Fatal(token, err)
		}
	}
	if calls, err := os.ReadFile(filepath.Join(dir, "calls")); string(calls) != "called\n" {
		t.Errorf("it was asked %q: %v", calls, err)
	}
}

// TestClouds asks the authority of each cloud for a token of its scope.
func TestClouds(t *testing.T) {
	for host, want := range map[string][2]string{
		public:                                {"login.microsoftonline.com", "https://cognitiveservices.azure.com/.default"},
		"FACES.cognitiveservices.AZURE.COM":   {"login.microsoftonline.com", "https://cognitiveservices.azure.com/.default"},
		"faces.cognitiveservices.azure.us":    {"login.microsoftonline.us", "https://cognitiveservices.azure.us/.default"},
		"faces.cognitiveservices.azure.cn":    {"login.chinacloudapi.cn", "https://cognitiveservices.azure.cn/.default"},
		"azure.us.cognitiveservices.azure.cn": {"login.chinacloudapi.cn", "https://cognitiveservices.azure.cn/.default"},
	} {
		t.Run(host, func(t *testing.T) {
			environment(t, clientSecret())
			a := &authority{lives: time.Hour}
			s, err := entra.New(host, entra.Options{HTTP: a})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Token(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := a.asked[0].URL.Host; got != want[0] || !strings.HasPrefix(a.forms[0].Get("scope"), want[1]) {
				t.Errorf("asked %s for %s", got, a.forms[0].Get("scope"))
			}
		})
	}
	t.Run("the operator's authority", func(t *testing.T) {
		vars := clientSecret()
		vars["AZURE_AUTHORITY_HOST"] = "https://login.example"
		environment(t, vars)
		a := &authority{lives: time.Hour}
		s, err := entra.New("faces.cognitiveservices.azure.us", entra.Options{HTTP: a})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Token(t.Context()); err != nil || a.asked[0].URL.Host != "login.example" {
			t.Error(err)
		}
	})
	t.Run("no such choice", func(t *testing.T) {
		environment(t, map[string]string{"AZURE_TOKEN_CREDENTIALS": "guess"})
		if _, err := entra.New(public, entra.Options{}); err == nil || !strings.Contains(err.Error(), "AZURE_TOKEN_CREDENTIALS") {
			t.Error(err)
		}
	})
}

// TestRefused says what is wrong with an identity and what to do, and nothing of secrets or
// answers.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		vars   map[string]string
		answer string
		says   []string
	}{
		{"wrong secret", clientSecret(), `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret ` + secret + `","error_codes":[7000215]}`,
			[]string{"401", "invalid_client", "AADSTS7000215", "AZURE_CLIENT_SECRET"}},
		{"no answer of Entra ID", clientSecret(), `<html>` + secret + `</html>`, []string{"401", "AZURE_CLIENT_SECRET"}},
		{"nothing is set", nil, `{"error":"invalid_request"}`, []string{"AZURE_TENANT_ID", "VISION_TRAINING_KEY", "EnvironmentCredential"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			environment(t, c.vars)
			s, err := entra.New(public, entra.Options{HTTP: &authority{refuse: c.answer}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Token(t.Context())
			for _, want := range c.says {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("it does not say %s: %v", want, err)
				}
			}
			if text := fmt.Sprintf("%v %+v %v", err, err, s); strings.Contains(text, secret) || strings.Contains(fmt.Sprint(err), "\n") {
				t.Errorf("it shows too much: %s", text)
			}
		})
	}
}

// TestGivesUp ends with the caller's context, and says why.
func TestGivesUp(t *testing.T) {
	environment(t, clientSecret())
	a := &authority{block: make(chan struct{})}
	s, err := entra.New(public, entra.Options{HTTP: a})
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("stopping")
	ctx, cancel := context.WithCancelCause(t.Context())
	var waiting sync.WaitGroup
	for range 2 { // one asks, the other waits for its turn
		waiting.Go(func() {
			if _, err := s.Token(ctx); !errors.Is(err, why) {
				t.Error(err)
			}
		})
	}
	cancel(why)
	waiting.Wait()
}

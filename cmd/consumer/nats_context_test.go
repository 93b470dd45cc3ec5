package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestContextsOfTheNATSCommandLine takes settings from contexts as nats context add writes them:
// below flags and variables, above defaults.
func TestContextsOfTheNATSCommandLine(t *testing.T) {
	home := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(home, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	creds := filepath.Join(home, "my.creds")
	write("my.creds", "creds")
	write(".config/nats/context/eu.json", `{"description":"x","url":"nats://eu.example:4222","token":"","user":"anna","password":"p","creds":"~/my.creds","nkey":"","cert":"","key":"","ca":"","nsc":"",
		"jetstream_domain":"hub","jetstream_api_prefix":"","jetstream_event_prefix":"","inbox_prefix":"_INBOX_anna","user_jwt":"","color_scheme":"","tls_first":false}`)
	write(".config/nats/context/token.json", `{"url":"nats://token.example","token":"secret-token"}`)
	write(".config/nats/context/nsc.json", `{"url":"nats://eu.example","nsc":"nsc://a/b/c","tls_first":true}`)
	write("xdg/nats/context/eu.json", `{"url":"nats://xdg.example"}`)
	vars := append(minimal(), "HOME="+home)

	eu := natsConfig{URL: "nats://eu.example:4222", Creds: creds, User: "anna", Password: secretOf("p"), Inbox: "_INBOX_anna", Domain: "hub", Subjects: "cv"}
	for _, c := range []struct {
		name string
		vars []string
		args []string
		want natsConfig
	}{
		{"by flag", nil, []string{"--context=eu"}, eu},
		{"by variable", []string{"NATS_CONTEXT=eu"}, nil, eu},
		{"a variable wins", []string{"NATS_CONTEXT=eu", "NATS_URL=nats://other"}, nil, func() natsConfig { c := eu; c.URL = "nats://other"; return c }()},
		{"a flag wins", nil, []string{"--nats-domain=leaf", "--context", "eu"}, func() natsConfig { c := eu; c.Domain = "leaf"; return c }()},
		{"the flag names it", []string{"NATS_CONTEXT=nsc"}, []string{"--context=eu"}, eu},
		{"a token", []string{"NATS_CONTEXT=token"}, nil, natsConfig{URL: "nats://token.example", User: "secret-token", Inbox: serviceInbox, Subjects: "cv"}},
		{"XDG_CONFIG_HOME", []string{"NATS_CONTEXT=eu", "XDG_CONFIG_HOME=" + filepath.Join(home, "xdg")}, nil, natsConfig{URL: "nats://xdg.example", Inbox: serviceInbox, Subjects: "cv"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parse(t, append(vars, c.vars...), c.args...)
			password, _ := got.NATS.Password.Reveal()
			wanted, _ := c.want.Password.Reveal()
			got.NATS.Password, c.want.Password = Secret{}, Secret{}
			if err != nil || password != wanted || got.NATS != c.want {
				t.Errorf("%+v with the password %q, %v", got.NATS, password, err)
			}
		})
	}
	for name, says := range map[string]string{"none": "there are eu, nsc, token", "nsc": "it sets nsc, tls_first", "../eu": "not the name"} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{"jobs", "--context", name}, vars, nil, &out, &errs); code != exitUsage || !strings.HasPrefix(errs.String(), "consumer: --context (NATS_CONTEXT) "+name+": ") || !strings.Contains(errs.String(), says) {
			t.Errorf("context %s: exit %d, %s", name, code, &errs)
		}
	}
}

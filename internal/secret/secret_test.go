package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/internal/secret"
)

// holder has a secret where fmt calls no methods.
type holder struct {
	inner struct{ text secret.Text }
	list  []secret.Text
	table map[string]secret.Text
}

// TestTextDoesNotShow prints, marshals and logs a secret in all ways, by itself and within others.
func TestTextDoesNotShow(t *testing.T) {
	const value = "hunter2"
	s := secret.New(value)
	h := holder{list: []secret.Text{s}, table: map[string]secret.Text{"a": s}}
	h.inner.text = s
	var log bytes.Buffer
	logger := zerolog.New(&log)
	logger.Info().Interface("s", s).Interface("h", h).Stringer("t", s).Any("p", &h).Err(errors.Join(fmt.Errorf("with %v", s))).Msgf("%v", h)
	all := log.String()
	for _, v := range []any{s, &s, h, &h, []any{s, h}, struct{ S secret.Text }{s}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%10s"} {
			all += fmt.Sprintf(verb, v) + "\n"
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		all += string(text)
	}
	for _, shown := range []string{value, fmt.Sprintf("%x", value), fmt.Sprintf("%X", value), fmt.Sprintf("%d", []byte(value))} {
		if strings.Contains(all, shown) {
			t.Errorf("it shows %s in\n%s", shown, all)
		}
	}
	if !strings.Contains(all, secret.Redacted) {
		t.Error("it does not say that something was redacted")
	}
	if s.Reveal() != value || !s.IsSet() || secret.New("").IsSet() || fmt.Sprint(secret.Text{}) != "" || (secret.Text{}).Reveal() != "" {
		t.Error("it does not give what it keeps")
	}
}

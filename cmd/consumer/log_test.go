package main

import (
	"bytes"
	"encoding/json"
	stdlog "log"
	"net"
	"strings"
	"testing"
	"time"
)

// Where JSON is asked for nothing else is written: not for settings that are wrong, not for an
// address that is taken, and not by packages that write to the standard log.
func TestLogIsJSONAlone(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	defer stdlog.SetOutput(stdlog.Writer())
	good := []string{
		"NATS_URL=nats://127.0.0.1:1", "CONSUMER_BUCKET=b", "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b",
		"VISION_TRAINING_ENDPOINT=http://127.0.0.1:1/", "VISION_TRAINING_KEY=k", "CONSUMER_HTTP_ADDR=" + taken.Addr().String(),
	}
	for _, tt := range []struct {
		name string
		vars []string
		code int
		says string
	}{
		{"wrong settings", []string{"CONSUMER_LOG_FORMAT=json"}, exitUsage, "CONSUMER_BUCKET"},
		{"an address that is taken", good, exitUnexpected, "CONSUMER_HTTP_ADDR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if code := run(t.Context(), []string{"run"}, tt.vars, strings.NewReader(""), &out, &errs); code != tt.code {
				t.Errorf("exit code %d", code)
			}
			stdlog.Print("from a package of others")
			said := ""
			for line := range strings.Lines(errs.String()) {
				var entry struct{ Time, Level, Message string }
				if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level == "" {
					t.Errorf("not an entry: %q", line)
				}
				if at, err := time.Parse(timeFormat, entry.Time); err != nil || len(entry.Time) < len("2006-01-02T15:04:05.000Z") || at.IsZero() {
					t.Errorf("no milliseconds: %q", line)
				}
				said += entry.Message
			}
			if !strings.Contains(said, tt.says) || tt.code == exitUnexpected && !strings.Contains(said, "of others") {
				t.Errorf("it says %q", said)
			}
		})
	}
}

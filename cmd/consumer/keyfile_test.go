//go:build unix

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestKeyFilesAreFiles: a pipe would be waited for, and a device read without end.
func TestKeyFilesAreFiles(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	huge := filepath.Join(dir, "huge")
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 1<<40); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, "/dev/zero", dir, huge} {
		for _, variable := range []string{
			"VISION_TRAINING_KEY_FILE", "NATS_PASSWORD_FILE", "AWS_SECRET_ACCESS_KEY_FILE", "CONSUMER_PSEUDONYM_KEY_FILE", "CONSUMER_SIGNING_KEY_FILE",
			"CONSUMER_RESOURCES", "NATS_CREDS", "NATS_NKEY", "NATS_CA",
		} {
			if path == huge && strings.HasPrefix(variable, "NATS_") && variable != "NATS_PASSWORD_FILE" {
				continue // the library reads it
			}
			vars := append(minimal(), variable+"="+path, "NATS_USER=u", "AWS_ACCESS_KEY_ID=id")
			if variable == "VISION_TRAINING_KEY_FILE" {
				vars = append(vars, "VISION_TRAINING_KEY=")
			}
			if _, err := parse(t, vars); !slices.Contains(wrongVariables(err), variable) {
				t.Errorf("%s=%s: %v", variable, path, err)
			}
		}
	}
}

//go:build unix

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"
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

// TestOpenKeyFilesAreWarnedOf has the log name each file with a secret that every user may read,
// once, and nothing of what is in it.
func TestOpenKeyFilesAreWarnedOf(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("hunter2-"+name), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	open, group, own := file("open", 0o644), file("group", 0o640), file("own", 0o600)
	linked := filepath.Join(dir, "linked")
	if err := os.Symlink(file("target", 0o604), linked); err != nil {
		t.Fatal(err)
	}
	var c config
	c.Resources = []resource{{Alias: "default", Key: Secret{file: open}}, {Alias: "same", Key: Secret{file: open}}, {Alias: "value", Key: secretOf("x")}}
	c.NATS.Creds, c.NATS.Key, c.NATS.Password = group, linked, Secret{file: own}
	c.PseudonymKey = Secret{file: filepath.Join(dir, "nothing")}
	var log bytes.Buffer
	c.warnOfOpenKeyFiles(zerolog.New(&log))
	text := log.String()
	if strings.Count(text, "\n") != 2 || strings.Count(text, open) != 1 || strings.Count(text, linked) != 1 || !strings.Contains(text, `"NATS_KEY"`) ||
		!strings.Contains(text, `"level":"warn"`) || strings.Contains(text, "hunter2") {
		t.Errorf("it logs\n%s", text)
	}
}

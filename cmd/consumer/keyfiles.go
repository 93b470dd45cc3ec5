package main

import (
	"cmp"
	"slices"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/internal/keyfile"
)

// keyFiles are the files with secrets that the settings name, each with its variable.
func (c config) keyFiles() map[string]string {
	files := map[string]string{}
	for _, f := range []struct{ variable, path string }{
		{"NATS_CREDS", c.NATS.Creds}, {"NATS_NKEY", c.NATS.NKey}, {"NATS_KEY", c.NATS.Key}, {"NATS_PASSWORD_FILE", c.NATS.Password.File()},
		{"AWS_SECRET_ACCESS_KEY_FILE", c.S3.Secret.File()}, {"AWS_SESSION_TOKEN_FILE", c.S3.SessionToken.File()},
		{"CONSUMER_PSEUDONYM_KEY_FILE", c.PseudonymKey.File()}, {"CONSUMER_SIGNING_KEY_FILE", c.SigningKeyFile},
		{"CONSUMER_PAGE_TOKEN_FILE", c.Page.Token.File()},
	} {
		files[f.path] = f.variable
	}
	for _, r := range c.Resources {
		files[r.Key.File()] = cmp.Or(files[r.Key.File()], "key_file of "+r.Alias)
	}
	delete(files, "")
	return files
}

// openKeyFiles are the paths of the files with secrets that every user of the machine may read.
func openKeyFiles(files map[string]string) []string {
	var open []string
	for path := range files {
		if keyfile.OpenToAll(path) {
			open = append(open, path)
		}
	}
	slices.Sort(open)
	return open
}

// closeKeyFile is what to do about a key file that every user may read.
const closeKeyFile = "chmod o-r (in Kubernetes, defaultMode 0440 and fsGroup)"

// warnOfOpenKeyFiles tells of each file with a secret that every user of the machine may read.
func (c config) warnOfOpenKeyFiles(log zerolog.Logger) {
	files := c.keyFiles()
	for _, path := range openKeyFiles(files) {
		log.Warn().Str("file", path).Str("setting", files[path]).Msg("key file is readable by every user of this machine: " + closeKeyFile)
	}
}

package main

import (
	"fmt"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/keyfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
)

// signing is what receipts are signed with; nil: they are unsigned.
func (s workSettings) signing(p *problems) *signature.Maker {
	required := p.boolean("CONSUMER_TSA_REQUIRED", s.TSARequired)
	if s.SigningKey == "" {
		if s.TSAURL != "" {
			p.add("CONSUMER_TSA_URL", "needs CONSUMER_SIGNING_KEY_FILE: a time stamp is over a signature")
		}
		return nil
	}
	m := &signature.Maker{Key: func() (*signature.Signer, error) { return readSigner(s.SigningKey) }, Optional: !required}
	if _, err := m.Key(); err != nil {
		p.add("CONSUMER_SIGNING_KEY_FILE", "%v", err)
	}
	if s.TSAURL != "" {
		var err error
		if m.Authority, err = signature.NewAuthority(s.TSAURL, time.Now); err != nil { //nolint:forbidigo // the process's clock enters here
			p.add("CONSUMER_TSA_URL", "%v", err)
		}
	}
	return m
}

// readSigner reads the private key of a file.
func readSigner(path string) (*signature.Signer, error) {
	text, err := keyfile.Read(path)
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err) // names the path, never the content
	}
	signer, err := signature.ParseSigner(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return signer, nil
}

// publicKeys are public keys by their ids, and the files that they were read from.
type publicKeys struct {
	keys  []*signature.Key
	files map[string]string
}

// readPublicKeys reads the public keys of files.
func readPublicKeys(paths []string) (publicKeys, error) {
	k := publicKeys{files: map[string]string{}}
	for _, path := range paths {
		text, err := keyfile.Read(path)
		if err != nil {
			return k, fmt.Errorf("%w: --key: %w", errUsage, err)
		}
		keys, err := signature.ParseKeys(text)
		if err != nil {
			return k, fmt.Errorf("%w: --key: %s: %w", errUsage, path, err)
		}
		for _, key := range keys {
			k.keys = append(k.keys, key)
			k.files[key.ID()] = path
		}
	}
	return k, nil
}

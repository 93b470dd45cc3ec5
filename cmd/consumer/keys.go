package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
)

// keysCmd makes signing keys.
type keysCmd struct {
	New keysNewCmd `cmd:"" help:"Make a key pair that receipts are signed with."`
}

type keysNewCmd struct {
	Name string `arg:"" optional:"" default:"receipts" placeholder:"NAME" help:"What the files are called: NAME.key and NAME.pub; default ${default}."`
	Type string `name:"type" enum:"p256,ed25519" default:"p256" placeholder:"TYPE" help:"Kind of the key: p256 (ECDSA) or ed25519; default ${default}."`
}

// Help implements kong.HelpProvider.
func (keysNewCmd) Help() string {
	return "Writes the private key to NAME.key, which only its owner can read, and the public key to NAME.pub. Files that are there already are never overwritten. " +
		"The key's id is the SHA-256 of the public key in DER (SubjectPublicKeyInfo): receipts name it."
}

// Run makes the files.
func (c keysNewCmd) Run(p *program) error {
	private, signer, err := signature.Generate(c.Type)
	if err != nil {
		return err
	}
	key, public := c.Name+".key", c.Name+".pub"
	if err := writeNew(public, signer.PEM(), 0o644); err != nil {
		return err
	}
	if err := writeNew(key, private, 0o600); err != nil {
		return errors.Join(err, os.Remove(public))
	}
	fmt.Fprintf(p.stdout, "private key  %s\npublic key   %s\nid           %s\n\n"+
		"Next:\n"+
		"  Give the private key to the service and to no other: CONSUMER_SIGNING_KEY_FILE=%s\n"+
		"  Give the public key and its id to those who check bundles, by a way that they trust.\n"+
		"  They run: consumer verify --key %s WHERE (or cosign or openssl: docs/verify.md)\n"+
		"  Keep the public key as long as the bundles. To rotate, make another pair; --key may be given several times.\n",
		key, public, signer.ID(), key, public)
	return nil
}

// writeNew writes a file that is not there yet.
func writeNew(path string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%w: %s is there already, and is not overwritten: choose another name", errUsage, path)
	}
	if err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	if err := fill(f, content); err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	return nil
}

// fill writes the content of a new file and closes it. A file that cannot be written whole is
// removed.
func fill(f *os.File, content []byte) error {
	_, err := f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

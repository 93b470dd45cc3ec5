package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nkeys"

	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
)

// keysCmd makes signing keys.
type keysCmd struct {
	New keysNewCmd `cmd:"" help:"Make a key pair that receipts are signed with, or commands."`
}

type keysNewCmd struct {
	Name string `arg:"" optional:"" placeholder:"NAME" help:"What the files are called: NAME.key and NAME.pub; default receipts, with --type nkey signer."`
	Type string `name:"type" enum:"p256,ed25519,nkey" default:"p256" placeholder:"TYPE" help:"Kind of the key: p256 (ECDSA) or ed25519 for receipts; nkey for commands: its seed in NAME.key, which --sign and consumer approve --seed take, its public key in NAME.pub; default ${default}."`
}

// newKey is a key pair as its files hold it, and what is said of it.
type newKey struct{ private, public, said []byte }

// Help implements kong.HelpProvider.
func (keysNewCmd) Help() string {
	return "Writes the private key to NAME.key, which only its owner can read, and the public key to NAME.pub. Files that are there already are never overwritten. " +
		"The id of a key for receipts is the SHA-256 of the public key in DER (SubjectPublicKeyInfo): receipts name it."
}

// Run makes the files.
func (c keysNewCmd) Run(p *program) error {
	name, make := cmp.Or(c.Name, "receipts"), c.forReceipts
	if c.Type == "nkey" {
		name, make = cmp.Or(c.Name, "signer"), forCommands
	}
	key, public := name+".key", name+".pub"
	made, err := make(key, public)
	if err != nil {
		return err
	}
	if err := writeNew(public, made.public, 0o644); err != nil {
		return err
	}
	if err := writeNew(key, made.private, 0o600); err != nil {
		return errors.Join(err, os.Remove(public))
	}
	_, err = p.stdout.Write(made.said)
	return err
}

// forReceipts makes a key pair that receipts are signed with.
func (c keysNewCmd) forReceipts(key, public string) (newKey, error) {
	private, signer, err := signature.Generate(c.Type)
	if err != nil {
		return newKey{}, err
	}
	return newKey{private, signer.PEM(), fmt.Appendf(nil, "private key  %s\npublic key   %s\nid           %s\n\n"+
		"Next:\n"+
		"  Give the private key to the service and to no other: CONSUMER_SIGNING_KEY_FILE=%s\n"+
		"  Give the public key and its id to those who check bundles, by a way that they trust.\n"+
		"  They run: consumer verify --key %s WHERE (or cosign or openssl: docs/verify.md)\n"+
		"  Keep the public key as long as the bundles. To rotate, make another pair; --key may be given several times.\n",
		key, public, signer.ID(), shellLine(key), shellLine(public))}, nil
}

// forCommands makes an NKey, which commands are signed or approved with.
func forCommands(key, public string) (newKey, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return newKey{}, fmt.Errorf("make an NKey: %w", err)
	}
	defer pair.Wipe()
	name, err := pair.PublicKey()
	if err != nil {
		return newKey{}, fmt.Errorf("make an NKey: %w", err)
	}
	seed, err := pair.Seed()
	if err != nil {
		return newKey{}, fmt.Errorf("make an NKey: %w", err)
	}
	return newKey{append(seed, '\n'), []byte(name + "\n"), fmt.Appendf(nil, "seed         %s\npublic key   %s, in %s\n\n"+
		"Next:\n"+
		"  Keep the seed on your machine: it signs in your name.\n"+
		"  Give the public key to the operator, for CONSUMER_TRUSTED_SIGNERS or CONSUMER_APPROVERS.\n"+
		"  Sign with consumer delete --sign %s, or approve with consumer approve FILE --seed %s\n",
		key, name, public, shellLine(key), shellLine(key))}, nil
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

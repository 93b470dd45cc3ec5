package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/trust"
)

// prepared is a signed command in a file, for its approver: the message as it is to be published,
// byte for byte.
type prepared struct {
	V        int               `json:"v"` // 1
	Audience string            `json:"audience"`
	Subject  string            `json:"subject"`
	Headers  map[string]string `json:"headers"`
	Body     string            `json:"body"`
	Plan     string            `json:"plan,omitempty"` // id of the dry run whose plan it names, to look at
}

// preparedVersion is the only version of such files.
const preparedVersion = 1

// prepare signs an order for a file.
func (o order) prepare(prefix, plan string) (prepared, error) {
	m, err := o.message(prefix)
	if err != nil {
		return prepared{}, err
	}
	f := prepared{V: preparedVersion, Audience: o.signer.audience, Subject: m.Subject, Headers: map[string]string{}, Body: string(m.Body), Plan: plan}
	for name, values := range m.Header {
		f.Headers[name] = values[0]
	}
	return f, nil
}

// save signs an order into a new file for its approver. plan is the id of the dry run whose plan it
// names; empty where that is not known.
func (o order) save(p *program, conf natsConfig, file, plan string) error {
	f, err := o.prepare(conf.Subjects, plan)
	if err != nil {
		return err
	}
	if err := f.save(file); err != nil {
		return err
	}
	fmt.Fprintf(p.stderr, "signed, and not published: the approver looks at it and publishes it with consumer approve %s --seed FILE\n", shellLine(file))
	_, err = fmt.Fprintln(p.stdout, o.id)
	return err
}

// save writes the file, which must be new: readable by its owner alone, since it may have metadata
// values.
func (f prepared) save(file string) error {
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the command: %w", err)
	}
	out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("%w: --save: %w", errUsage, err)
	}
	if err := fill(out, append(b, '\n')); err != nil {
		return fmt.Errorf("write the command: %w", err)
	}
	return nil
}

// loadPrepared reads such a file.
func loadPrepared(file string) (prepared, error) {
	in, err := os.Open(file)
	if err != nil {
		return prepared{}, fmt.Errorf("%w: %w", errUsage, err)
	}
	defer in.Close()
	b, err := io.ReadAll(io.LimitReader(in, maxPrepared+1))
	if err != nil {
		return prepared{}, fmt.Errorf("read %s: %w", file, err)
	}
	var f prepared
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	switch err := dec.Decode(&f); {
	case len(b) > maxPrepared, err != nil, f.V != preparedVersion: // not quoted: values are personal data
		return prepared{}, fmt.Errorf("%w: %s is not a signed command, as consumer delete --sign SEED --save FILE writes one", errUsage, file)
	}
	return f, nil
}

// maxPrepared bounds such a file: the data of a command, escaped once more. In bytes.
const maxPrepared = 4 << 20

// message is the command as it is to be published.
func (f prepared) message() contract.Message {
	m := contract.Message{Subject: f.Subject, Header: map[string][]string{}, Body: []byte(f.Body)}
	for name, value := range f.Headers {
		m.Header[name] = []string{value}
	}
	return m
}

// delete is the delete in a file, and by whom it is signed. Its subject must begin with the prefix
// that the command line uses.
func (f prepared) delete(file, prefix string) (c contract.Command, err error) {
	own, _, ok := strings.Cut(f.Subject, ".commands."+string(contract.ActionDelete))
	m := f.message()
	if c, err = contract.DecodeCommand(own, m); err != nil || !ok || c.Action != contract.ActionDelete {
		return c, errors.Join(fmt.Errorf("%w: the file holds no delete", errUsage), err)
	}
	if c.Signer, err = trust.Signature.By(m, f.Audience); err != nil {
		return c, fmt.Errorf("%w: %s of the file: %w", errUsage, trust.Signature.Header, err)
	}
	if own != prefix {
		return c, fmt.Errorf("%w: %s is signed for the subject %s: set --subject-prefix ($CONSUMER_SUBJECT_PREFIX)", errUsage, file, f.Subject)
	}
	return c, nil
}

// order is the command in the file, to be published as it is.
func (f prepared) order(c contract.Command) order {
	m := f.message()
	return order{action: c.Action, id: c.ID, data: m.Body, header: m.Header}
}

package deletion

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// fingerprint is a credential as jobs keep it: an HMAC-SHA-256 under the deployment's key of
// digests.
func (d *Deleter) fingerprint(ctx context.Context, id cv.CredentialID) (string, error) {
	key, err := d.Secrets.Secret(ctx, contract.SecretDigest)
	if err != nil {
		return "", fmt.Errorf("read the key of digests: %w", err)
	}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte("credential\n"))
	mac.Write(id[:])
	return hex.EncodeToString(mac.Sum(nil)), nil
}

// provenGone reports whether err is a 404 from the planned account. If the account is not proven,
// it returns an error that makes the delete wait, without limit.
func (d *Deleter) provenGone(ctx context.Context, err error) (bool, error) {
	if gone, err := isGone(err); !gone {
		return false, err
	}
	if err := d.checkAccount(ctx); err != nil {
		return false, err
	}
	return true, nil
}

// checkAccount fails unless the account that answered last is known to be the planned one: by its
// own host name, by its credential, or by a planned project that it lists.
func (d *Deleter) checkAccount(ctx context.Context) error {
	if d.Client.OwnHost() && (d.Control.Host == "" || d.Control.Host == d.Client.Host()) {
		return nil
	}
	if proven, err := d.proven(ctx); proven || err != nil {
		return err
	}
	asked, _ := d.Control.Credential()
	projects, err := d.Client.GetProjects(ctx)
	if err != nil {
		return fmt.Errorf("list the projects, to know the account: %w", err)
	}
	if answered, _ := d.Control.Credential(); answered == asked && d.Control.Lists(projects) {
		return nil
	}
	return &waitError{contract.Waiting{For: contract.WaitCredential, Since: d.Now().UTC(), Detail: fmt.Sprintf(
		"nothing planned is found at %s with this credential, which lists %d projects, none of them planned: if the key is of another account, "+
			"set the planned account's (VISION_TRAINING_KEY, VISION_TRAINING_KEY_FILE or key_file); the delete waits until then", d.Client.Host(), len(projects))}}
}

// proven reports whether the latest answer's credential got an answer about a planned project, in
// this attempt or, as the job remembers, in one before.
func (d *Deleter) proven(ctx context.Context) (bool, error) {
	last, proven := d.Control.Credential()
	if proven || d.Job.Deletion == nil {
		return proven, nil
	}
	fingerprint, err := d.fingerprint(ctx, last)
	return slices.Contains(d.Job.Deletion.Credentials, fingerprint), err
}

// provenFingerprint is the fingerprint of the credential in use; empty when it is not proven, or
// need not be.
func (d *Deleter) provenFingerprint(ctx context.Context) (string, error) {
	last, proven := d.Control.Credential()
	if d.Client.OwnHost() || !proven {
		return "", nil
	}
	return d.fingerprint(ctx, last)
}

// keepCredential has the job remember the credential in use, once that is proven: a later attempt
// may find no project any more that could prove it.
func (d *Deleter) keepCredential(ctx context.Context) error {
	if d.Job.Deletion == nil {
		return nil
	}
	used, err := d.provenFingerprint(ctx)
	if err != nil || used == "" || slices.Contains(d.Job.Deletion.Credentials, used) {
		return err
	}
	return d.update(ctx, func(j *contract.Job) {
		ref := *j.Deletion
		ref.Credentials = append(slices.Clone(ref.Credentials), used)
		j.Deletion = &ref
	})
}

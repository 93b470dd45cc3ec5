package handler

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// accountControl knows whether the account that answers is the one that a delete is about. To the
// key of another account everything is not found, so a 404 proves absence only under control of the
// account.
type accountControl struct {
	host string // of the endpoint when the delete began; empty before

	mu       sync.Mutex
	planned  map[uuid.UUID]struct{}                     // projects known to be of the account
	answered map[cv.CredentialID]map[uuid.UUID]struct{} // projects about which a credential got an answer other than an error
	last     cv.CredentialID                            // of the latest answer
}

func newAccountControl() *accountControl {
	return &accountControl{planned: map[uuid.UUID]struct{}{}, answered: map[cv.CredentialID]map[uuid.UUID]struct{}{}}
}

// note takes account of a call that was answered.
func (a *accountControl) note(c cv.Call) {
	if c.Status == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = c.Credential
	if project := projectOf(c.Target); c.Status/100 == 2 && project != uuid.Nil {
		a.sawProject(project)
	}
}

// expect adds projects known to belong to the account.
func (a *accountControl) expect(projects ...uuid.UUID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range projects {
		a.planned[p] = struct{}{}
	}
}

// credential is that of the latest answer, and whether it got an answer about a planned project.
func (a *accountControl) credential() (last cv.CredentialID, proven bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for p := range a.answered[a.last] {
		if _, planned := a.planned[p]; planned {
			return a.last, true
		}
	}
	return a.last, false
}

// lists reports whether any of these projects, listed just now, is a planned one. Then the
// credential is the account's.
func (a *accountControl) lists(projects []cv.Project) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range projects {
		if _, planned := a.planned[p.ID]; planned {
			a.sawProject(p.ID)
			return true
		}
	}
	return false
}

// sawProject notes that the latest credential got an answer about a project. The caller holds the
// lock.
func (a *accountControl) sawProject(project uuid.UUID) {
	if a.answered[a.last] == nil {
		a.answered[a.last] = map[uuid.UUID]struct{}{}
	}
	a.answered[a.last][project] = struct{}{}
}

// SecretStore keeps what only the service knows.
type SecretStore interface {
	// Secret is the secret of this name, 26 random letters and digits made when it was first asked
	// for. All replicas get the same.
	Secret(ctx context.Context, name string) (string, error)
}

// Names of secrets.
const (
	SecretDeployment = "deployment" // the deployment's id, which buckets are marked with; no secret in itself
	SecretDigest     = "digest"     // the key of digests
)

// fingerprint is a credential as jobs keep it: an HMAC-SHA-256 under the deployment's key of
// digests.
func (r *run) fingerprint(ctx context.Context, id cv.CredentialID) (string, error) {
	key, err := r.Queue.Secret(ctx, SecretDigest)
	if err != nil {
		return "", fmt.Errorf("read the key of digests: %w", err)
	}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte("credential\n"))
	mac.Write(id[:])
	return hex.EncodeToString(mac.Sum(nil)), nil
}

// provenGone reports whether err says that something is not there, and the planned account says so.
// Otherwise the command waits for the credential, without limit.
func (r *run) provenGone(ctx context.Context, err error) (bool, error) {
	if gone, err := isGone(err); !gone {
		return false, err
	}
	if err := r.checkAccount(ctx); err != nil {
		return false, err
	}
	return true, nil
}

// isCode reports whether the Training API answered with this code of its own.
func isCode(err error, code string) bool {
	var api *cv.Error
	return errors.As(err, &api) && api.Code == code
}

// checkAccount fails unless the account that answered last is known to be the planned one: by its
// own host name, by its credential, or by a planned project that it lists.
func (r *run) checkAccount(ctx context.Context) error {
	if r.client.OwnHost() && (r.account.host == "" || r.account.host == r.client.Host()) {
		return nil
	}
	if proven, err := r.proven(ctx); proven || err != nil {
		return err
	}
	asked, _ := r.account.credential()
	projects, err := r.client.GetProjects(ctx)
	if err != nil {
		return fmt.Errorf("list the projects, to know the account: %w", err)
	}
	if answered, _ := r.account.credential(); answered == asked && r.account.lists(projects) {
		return nil
	}
	return r.pause(ctx, &contract.Waiting{For: contract.WaitCredential, Since: r.Now().UTC(), Detail: fmt.Sprintf(
		"nothing planned is found at %s with this credential, which lists %d projects, none of them planned: if the key is of another account, "+
			"set the planned account's (VISION_TRAINING_KEY, VISION_TRAINING_KEY_FILE or key_file); the delete waits until then", r.client.Host(), len(projects))})
}

// proven reports whether the latest answer's credential got an answer about a planned project, in
// this attempt or, as the job remembers, in one before.
func (r *run) proven(ctx context.Context) (bool, error) {
	last, proven := r.account.credential()
	if proven || r.job.Deletion == nil {
		return proven, nil
	}
	fingerprint, err := r.fingerprint(ctx, last)
	return slices.Contains(r.job.Deletion.Credentials, fingerprint), err
}

// provenFingerprint is the fingerprint of the credential in use; empty when it is not proven, or
// need not be.
func (r *run) provenFingerprint(ctx context.Context) (string, error) {
	last, proven := r.account.credential()
	if r.client.OwnHost() || !proven {
		return "", nil
	}
	return r.fingerprint(ctx, last)
}

// keepCredential has the job remember the credential in use, once that is proven: a later attempt
// may find no project any more that could prove it.
func (r *run) keepCredential(ctx context.Context) error {
	if r.job.Deletion == nil {
		return nil
	}
	used, err := r.provenFingerprint(ctx)
	if err != nil || used == "" || slices.Contains(r.job.Deletion.Credentials, used) {
		return err
	}
	return r.save(ctx, func(j *contract.Job) {
		ref := *j.Deletion
		ref.Credentials = append(slices.Clone(ref.Credentials), used)
		j.Deletion = &ref
	})
}

// accountOf names the account of a resource, for what must not be taken for another account's. It
// is empty for an alias that is not configured.
func (h *Handler) accountOf(alias string) string {
	client, ok := h.Resources[alias]
	switch {
	case !ok:
		return ""
	case h.Accounts[alias] != "":
		return strings.ToLower(h.Accounts[alias])
	case client.OwnHost():
		return client.Host()
	default:
		return client.Host() + "/" + alias
	}
}

// sameAccount reports whether the command is about the account that an earlier one was about. The
// alias alone tells only where an account is not known.
func (r *run) sameAccount(earlier contract.CommandRef) bool {
	account := r.accountOf(r.command.Data.Resource)
	if account == "" || earlier.Account == "" {
		return r.command.Data.Resource == earlier.Resource
	}
	return account == earlier.Account
}

// sameAsBegun fails, as misconfigured, when the command's alias no longer means the account that it
// meant when the command began: absence elsewhere proves nothing.
func (r *run) sameAsBegun(host, account string) error {
	now := r.accountOf(r.command.Data.Resource)
	if account == "" && host == r.client.Host() { // it began before accounts were written down
		return nil
	}
	if now != account {
		return fmt.Errorf("%w: resource %s is at another endpoint now: it means account %s at %s, and meant %s at %s when the command began: "+
			"point it back (CONSUMER_RESOURCES or VISION_TRAINING_ENDPOINT)", cv.ErrMisconfigured, r.command.Data.Resource, now, r.client.Host(), account, host)
	}
	return nil
}

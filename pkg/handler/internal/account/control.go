package account

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
)

// Service is what a Control asks of the Training API.
type Service interface {
	Host() string
	OwnHost() bool
	GetProject(ctx context.Context, project uuid.UUID) (cv.Project, error)
	GetProjects(ctx context.Context) ([]cv.Project, error)
}

// Secrets has what only the service knows.
type Secrets interface {
	// Secret is the secret of this name, 26 random letters and digits made when it was first asked
	// for. All replicas get the same.
	Secret(ctx context.Context, name string) (string, error)
}

// Settings are what a Control works with. All are needed but Listings.
type Settings struct {
	Service Service
	Secrets Secrets // has the key of fingerprints
	Now     func() time.Time
	// Wait waits between two questions, until d has passed or ctx is done.
	Wait func(ctx context.Context, d time.Duration) error
	// Listings are those of other commands; nil: none are known.
	Listings *Listings
}

// Control knows whether the account that answers is the one that a command is about, and so whether
// a 404 proves that something is gone: to the key of another account everything is not found. It is
// of one attempt. A Control is safe for concurrent use.
type Control struct {
	Settings

	mu       sync.Mutex
	host     string                                     // of the endpoint when the command began; empty before
	proven   []string                                   // fingerprints of credentials that an earlier attempt proved
	mine     map[uuid.UUID]struct{}                     // projects known to be of the account
	answered map[cv.CredentialID]map[uuid.UUID]struct{} // projects about which a credential got an answer other than an error
	last     cv.CredentialID                            // of the latest answer
	absences map[uuid.UUID]*absence
}

// NewControl makes a Control that knows nothing yet.
func NewControl(s Settings) *Control {
	return &Control{
		Settings: s, mine: map[uuid.UUID]struct{}{}, answered: map[cv.CredentialID]map[uuid.UUID]struct{}{}, absences: map[uuid.UUID]*absence{},
	}
}

// Resume takes up what was frozen when the command began: the endpoint's host, and the fingerprints
// of the credentials that were proven by then.
func (a *Control) Resume(host string, proven []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.host = host
	for _, f := range proven {
		if !slices.Contains(a.proven, f) {
			a.proven = append(a.proven, f)
		}
	}
}

// Note takes account of a call that was answered.
func (a *Control) Note(c cv.Call) {
	if c.Status == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = c.Credential
	project := ledger.ProjectOf(c.Target)
	if project == uuid.Nil {
		return
	}
	switch {
	case c.Status/100 == 2 && c.Operation == "DeleteProject":
		a.sawProject(project)
		a.absence(project).deleted = true
	case c.Status/100 == 2:
		a.sawProject(project)
		delete(a.absences, project)
	case cv.Missing(c.Err) == cv.ThingProject:
		if s := a.absence(project); s.since.IsZero() {
			s.since = a.Now()
		}
	}
}

// Expect adds projects known to belong to the account.
func (a *Control) Expect(projects ...uuid.UUID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range projects {
		a.mine[p] = struct{}{}
	}
}

// Listed adds projects that the account listed in its latest answer: they are its own, and so is
// the credential that got this answer.
func (a *Control) Listed(projects ...uuid.UUID) {
	a.Expect(projects...)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range projects {
		a.sawProject(p)
	}
}

// MaxKnown is how many projects are kept to know an account by. One of them, still listed, is
// enough.
const MaxKnown = 100

// Others lists the projects, and returns up to MaxKnown of those that are not planned: a later
// credential that lists one of them is the account's, even when all that was planned is gone. It
// fails with ErrContradiction unless all that is planned is listed beside them: it could be of two
// accounts. Where the host says which account it is, nothing is needed and nothing is asked. A
// listing that the credential of the latest answer got for another command just before will do, if
// all that is planned is in it.
func (a *Control) Others(ctx context.Context, planned []uuid.UUID) ([]uuid.UUID, error) {
	if a.Service.OwnHost() {
		return nil, nil
	}
	last, _ := a.credential()
	listed := a.Listings.recent(a.Service, last, a.Now(), planned)
	if listed == nil {
		now := listing{at: a.Now()}
		projects, err := a.Service.GetProjects(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the other projects: %w", err)
		}
		for _, p := range projects {
			now.projects = append(now.projects, p.ID)
		}
		now.by, _ = a.credential()
		a.Listings.keep(a.Service, now)
		listed = slices.Clone(now.projects)
	}
	for _, p := range planned {
		if !slices.Contains(listed, p) {
			return nil, fmt.Errorf("%w: project %s can be read, and is not among the %d listed ones", ErrContradiction, p, len(listed))
		}
	}
	a.Listed(planned...)
	others := slices.DeleteFunc(contract.SortedIDs(listed), func(p uuid.UUID) bool { return slices.Contains(planned, p) })
	return others[:min(len(others), MaxKnown)], nil
}

// Fingerprint is that of the credential of the latest answer, once it got an answer about a planned
// project: an HMAC-SHA-256 under the deployment's key of digests. It is empty when the credential
// is not proven, and when it need not be.
func (a *Control) Fingerprint(ctx context.Context) (string, error) {
	last, proven := a.credential()
	if a.Service.OwnHost() || !proven {
		return "", nil
	}
	return a.fingerprint(ctx, last)
}

func (a *Control) fingerprint(ctx context.Context, id cv.CredentialID) (string, error) {
	key, err := a.Secrets.Secret(ctx, contract.SecretDigest)
	if err != nil {
		return "", fmt.Errorf("read the key of digests: %w", err)
	}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte("credential\n"))
	mac.Write(id[:])
	return hex.EncodeToString(mac.Sum(nil)), nil
}

// UncontrolledError says that something planned is not found, and that the account which says so is
// not known to be the planned one. It is the operator's problem: the command waits, without end.
type UncontrolledError struct{ Waiting contract.Waiting }

// Error says what the command waits for.
func (e *UncontrolledError) Error() string { return e.Waiting.Detail }

// Is matches cv.ErrMisconfigured.
func (e *UncontrolledError) Is(target error) bool { return target == cv.ErrMisconfigured }

// Check fails with an UncontrolledError unless the account that answered last is known to be the
// planned one: by its own host name, which is what it was, by its credential, or by a project of
// the planned account that it lists.
func (a *Control) Check(ctx context.Context) error {
	if known, err := a.known(ctx); known || err != nil {
		return err
	}
	asked, _ := a.credential()
	projects, err := a.Service.GetProjects(ctx)
	if err != nil {
		return fmt.Errorf("list the projects, to know the account: %w", err)
	}
	return a.checkListed(asked, projects)
}

// known reports whether the account is the planned one, as far as can be told without a call.
func (a *Control) known(ctx context.Context) (bool, error) {
	a.mu.Lock()
	host, earlier := a.host, a.proven
	a.mu.Unlock()
	if a.Service.OwnHost() && (host == "" || host == a.Service.Host()) {
		return true, nil
	}
	last, proven := a.credential()
	if proven || len(earlier) == 0 {
		return proven, nil
	}
	fingerprint, err := a.fingerprint(ctx, last)
	return slices.Contains(earlier, fingerprint), err
}

// checkListed fails unless the projects, listed just now, have one of the planned account, and the
// credential that listed them is the one that was asked about.
func (a *Control) checkListed(asked cv.CredentialID, projects []cv.Project) error {
	if now, _ := a.credential(); now == asked && a.lists(projects) {
		return nil
	}
	return &UncontrolledError{contract.Waiting{For: contract.WaitCredential, Since: a.Now().UTC(), Detail: fmt.Sprintf(
		"nothing planned is found at %s with this credential, which lists %d projects, none of which was in the planned account before: if the key is of another account, "+
			"set the planned account's (VISION_TRAINING_KEY, VISION_TRAINING_KEY_FILE or key_file); the command waits until then", a.Service.Host(), len(projects))}}
}

// credential is that of the latest answer, and whether it got an answer about a project of the
// account in this attempt.
func (a *Control) credential() (last cv.CredentialID, proven bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for p := range a.answered[a.last] {
		if _, mine := a.mine[p]; mine {
			return a.last, true
		}
	}
	return a.last, false
}

// lists reports whether any of these projects is the account's. Then so is the credential.
func (a *Control) lists(projects []cv.Project) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range projects {
		if _, mine := a.mine[p.ID]; mine {
			a.sawProject(p.ID)
			return true
		}
	}
	return false
}

// sawProject notes that the latest credential got an answer about a project. The caller holds the
// lock.
func (a *Control) sawProject(project uuid.UUID) {
	if a.answered[a.last] == nil {
		a.answered[a.last] = map[uuid.UUID]struct{}{}
	}
	a.answered[a.last][project] = struct{}{}
}

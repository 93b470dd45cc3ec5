package account

import (
	"sync"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
)

// Control knows whether the account that answers is the one that a delete is about. To the
// key of another account everything is not found, so a 404 proves absence only under control of the
// account.
type Control struct {
	Host string // of the endpoint when the delete began; empty before

	mu       sync.Mutex
	planned  map[uuid.UUID]struct{}                     // projects known to be of the account
	answered map[cv.CredentialID]map[uuid.UUID]struct{} // projects about which a credential got an answer other than an error
	last     cv.CredentialID                            // of the latest answer
}

func NewControl() *Control {
	return &Control{planned: map[uuid.UUID]struct{}{}, answered: map[cv.CredentialID]map[uuid.UUID]struct{}{}}
}

// Note takes account of a call that was answered.
func (a *Control) Note(c cv.Call) {
	if c.Status == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = c.Credential
	if project := ledger.ProjectOf(c.Target); c.Status/100 == 2 && project != uuid.Nil {
		a.sawProject(project)
	}
}

// Expect adds projects known to belong to the account.
func (a *Control) Expect(projects ...uuid.UUID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range projects {
		a.planned[p] = struct{}{}
	}
}

// Credential is that of the latest answer, and whether it got an answer about a planned project.
func (a *Control) Credential() (last cv.CredentialID, proven bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for p := range a.answered[a.last] {
		if _, planned := a.planned[p]; planned {
			return a.last, true
		}
	}
	return a.last, false
}

// Lists reports whether any of these projects, listed just now, is a planned one. Then the
// credential is the account's.
func (a *Control) Lists(projects []cv.Project) bool {
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
func (a *Control) sawProject(project uuid.UUID) {
	if a.answered[a.last] == nil {
		a.answered[a.last] = map[uuid.UUID]struct{}{}
	}
	a.answered[a.last][project] = struct{}{}
}

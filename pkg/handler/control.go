package handler

import (
	"sync"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
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

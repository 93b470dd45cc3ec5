package account

import (
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
)

// listingCounts is how long a listing of the projects counts for the plans of other commands.
const listingCounts = 5 * time.Second

// Listings are the latest listings of projects of each service, by any command of this process: of
// many small deletes at once each would list the same projects, under the service's limit of calls.
// Which projects are of an account does not change, as their ids are GUIDs; so a listing says the
// same of the account for a while, to the credential that got it. The zero value has none. It is
// safe for concurrent use.
type Listings struct {
	mu     sync.Mutex
	latest map[Service]listing
}

// listing is what the projects of an account were.
type listing struct {
	at       time.Time
	by       cv.CredentialID // that got it
	projects []uuid.UUID
}

// keep remembers a listing that was asked for at that time.
func (l *Listings) keep(of Service, now listing) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.latest == nil {
		l.latest = map[Service]listing{}
	}
	l.latest[of] = now
}

// recent are the projects that the service listed just before for the same credential, if all that
// is planned is among them; nil else.
func (l *Listings) recent(of Service, by cv.CredentialID, now time.Time, planned []uuid.UUID) []uuid.UUID {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	had := l.latest[of]
	age := now.Sub(had.at)
	if had.by != by || age < 0 || age >= listingCounts || slices.ContainsFunc(planned, func(p uuid.UUID) bool { return !slices.Contains(had.projects, p) }) {
		return nil
	}
	return slices.Clone(had.projects)
}

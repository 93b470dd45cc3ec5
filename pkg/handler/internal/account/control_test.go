package account_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/account"
)

// service is an account at an endpoint, and what its control hears of it.
type service struct {
	control    *account.Control
	own        bool
	host       string
	credential cv.CredentialID
	projects   []uuid.UUID // that a direct read finds
	listed     []uuid.UUID
	clock      time.Time
	waited     time.Duration
	onWait     func()
	asked      []string
	listings   *account.Listings
}

var (
	one   = uuid.MustParse("00000000-0000-0000-0000-000000000001")
	two   = uuid.MustParse("00000000-0000-0000-0000-000000000002")
	never = uuid.MustParse("00000000-0000-0000-0000-000000000003")
	right = cv.CredentialID{1}
	wrong = cv.CredentialID{2}

	rotated = cv.CredentialID{3}
)

func newService(projects ...uuid.UUID) *service {
	s := &service{host: "region.api.cognitive.microsoft.com", credential: right, projects: projects, listed: projects, clock: time.Unix(1e9, 0)}
	s.begin()
	return s
}

// begin gives the service a control that knows nothing, as a new attempt has it.
func (s *service) begin() {
	s.control = account.NewControl(account.Settings{
		Service: s, Secrets: s, Now: func() time.Time { return s.clock },
		Wait: func(_ context.Context, d time.Duration) error {
			s.waited += d
			s.clock = s.clock.Add(d)
			if s.onWait != nil {
				s.onWait()
			}
			return nil
		},
		Listings: s.listings,
	})
}

func (s *service) Secret(context.Context, string) (string, error) { return "key", nil }
func (s *service) Host() string                                   { return s.host }
func (s *service) OwnHost() bool                                  { return s.own }

// answer is what a call about a project gets: a 404 with this code, or success where it is empty.
func (s *service) answer(operation string, project uuid.UUID, code string) error {
	s.asked = append(s.asked, operation)
	call := cv.Call{Operation: operation, Target: "projects/" + project.String(), Status: 200, Credential: s.credential}
	if project == uuid.Nil {
		call.Target = "projects"
	}
	if code != "" {
		call.Status, call.Err = 404, &cv.Error{Op: operation, Status: 404, Code: code}
	}
	s.control.Note(call)
	return call.Err
}

func (s *service) GetProject(_ context.Context, p uuid.UUID) (cv.Project, error) {
	if slices.Contains(s.projects, p) {
		return cv.Project{ID: p}, s.answer("GetProject", p, "")
	}
	return cv.Project{}, s.answer("GetProject", p, "NotFoundProject")
}

func (s *service) GetProjects(context.Context) (all []cv.Project, err error) {
	for _, p := range s.listed {
		all = append(all, cv.Project{ID: p})
	}
	return all, s.answer("GetProjects", uuid.Nil, "")
}

// TestGone says which answers prove that a thing of project one is gone.
func TestGone(t *testing.T) {
	for _, c := range []struct {
		name      string
		projects  []uuid.UUID          // of the account that answers
		prepare   func(s *service)     // before the 404
		operation string               // default GetIteration
		code      string               // of the 404
		about     []cv.Thing           // default an iteration
		want      bool                 // gone
		fails     func(err error) bool // nil: it does not
		waits     time.Duration        // before it is known
		calls     int                  // beyond the one that was answered
	}{
		{name: "the same credential read the project before", projects: []uuid.UUID{one}, code: "NotFoundIteration",
			prepare: func(s *service) { _ = s.answer("GetProject", one, "") }, want: true},
		{name: "another project is read", projects: []uuid.UUID{two}, code: "NotFoundIteration", calls: 1,
			prepare: func(s *service) { _ = s.answer("GetProject", two, "") }, fails: isUncontrolled},
		{name: "another planned project is listed", projects: []uuid.UUID{two}, code: "NotFoundIteration", calls: 1,
			prepare: func(s *service) { s.control.Expect(two) }, want: true},
		{name: "the same credential listed the project before", code: "NotFoundProject", want: true, waits: account.Recheck, calls: 2,
			prepare: func(s *service) { s.list(one) }},
		{name: "another credential listed the project before", code: "NotFoundProject", waits: account.Recheck, calls: 2, fails: isUncontrolled,
			prepare: func(s *service) {
				s.list(one)
				s.credential = wrong
			}},
		{name: "nothing planned is listed", projects: []uuid.UUID{two}, code: "NotFoundIteration", calls: 1, fails: isUncontrolled},
		{name: "the host is the account's own", code: "NotFoundIteration", want: true,
			prepare: func(s *service) { s.own, s.host = true, "faces.cognitiveservices.azure.com" }},
		{name: "the account's own host is another one than at the beginning", code: "NotFoundIteration", calls: 1, fails: isUncontrolled,
			prepare: func(s *service) {
				s.own, s.host = true, "faces.cognitiveservices.azure.com"
				s.control.Resume("other.cognitiveservices.azure.com", nil)
			}},
		{name: "an earlier attempt proved the credential", code: "NotFoundIteration", want: true,
			prepare: func(s *service) {
				_ = s.answer("GetProject", one, "")
				proven, err := s.control.Fingerprint(context.Background())
				if err != nil || proven == "" {
					panic("no fingerprint")
				}
				s.begin()
				s.control.Expect(one)
				s.control.Resume(s.host, []string{proven})
			}},
		{name: "the key was changed since", projects: []uuid.UUID{two}, code: "NotFoundIteration", calls: 1, fails: isUncontrolled,
			prepare: func(s *service) {
				_ = s.answer("GetProject", one, "")
				s.credential = wrong
			}},
		{name: "an image is said not to be there", projects: []uuid.UUID{one}, code: "NotFoundImage", fails: isContradiction,
			prepare: func(s *service) { _ = s.answer("GetProject", one, "") }},
		{name: "an image was asked for", projects: []uuid.UUID{one}, code: "NotFoundImage", about: []cv.Thing{cv.ThingImage}, want: true,
			prepare: func(s *service) { _ = s.answer("GetProject", one, "") }},
		{name: "the project is gone", projects: []uuid.UUID{two}, code: "NotFoundProject", want: true, waits: account.Recheck, calls: 2,
			prepare: func(s *service) { s.control.Expect(two) }},
		{name: "the lone project is gone", code: "NotFoundProject", want: true, waits: account.Recheck, calls: 2,
			prepare: func(s *service) { _ = s.answer("GetProject", one, "") }},
		{name: "this command deleted the project", code: "NotFoundProject", want: true, calls: 1,
			prepare: func(s *service) { _ = s.answer("DeleteProject", one, "") }},
		{name: "a replica of the service lags behind", projects: []uuid.UUID{one}, code: "NotFoundProject", waits: account.Recheck, calls: 1, fails: isContradiction,
			prepare: func(s *service) { _ = s.answer("GetProject", one, "") }},
		{name: "all direct reads lag behind", code: "NotFoundProject", waits: account.Recheck, calls: 2, fails: isContradiction,
			prepare: func(s *service) {
				_ = s.answer("GetProject", one, "")
				s.listed = []uuid.UUID{one}
			}},
		{name: "the key is another account's from the second look on", code: "NotFoundProject", waits: account.Recheck, calls: 2, fails: isUncontrolled,
			prepare: func(s *service) {
				_ = s.answer("GetProject", one, "")
				s.onWait = func() { s.credential = wrong }
			}},
		{name: "a thing is said not to be there, and not which", projects: []uuid.UUID{one}, operation: "GetTags", code: "NotFound", waits: account.Recheck, calls: 1, fails: isContradiction,
			prepare: func(s *service) { _ = s.answer("GetProject", one, "") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newService(c.projects...)
			s.control.Expect(one)
			if c.prepare != nil {
				c.prepare(s)
			}
			before := len(s.asked)
			if c.operation == "" {
				c.operation = "GetIteration"
			}
			if c.about == nil {
				c.about = []cv.Thing{cv.ThingIteration}
			}
			gone, err := s.control.Gone(t.Context(), one, s.answer(c.operation, one, c.code), c.about...)
			if gone != c.want || (err != nil) != (c.fails != nil) || c.fails != nil && !c.fails(err) {
				t.Errorf("gone %t: %v", gone, err)
			}
			if s.waited != c.waits {
				t.Errorf("waited %s, want %s", s.waited, c.waits)
			}
			if calls := len(s.asked) - before - 1; calls != c.calls {
				t.Errorf("%d calls, want %d: %v", calls, c.calls, s.asked)
			}
		})
	}
}

// list has the account list its projects, which are noted.
func (s *service) list(projects ...uuid.UUID) {
	_ = s.answer("GetProjects", uuid.Nil, "")
	s.control.Listed(projects...)
}

func isUncontrolled(err error) bool {
	var waits *account.UncontrolledError
	return errors.As(err, &waits) && errors.Is(err, cv.ErrMisconfigured)
}

func isContradiction(err error) bool {
	return errors.Is(err, account.ErrContradiction) && errors.Is(err, cv.ErrUnavailable) && !errors.Is(err, cv.ErrGone)
}

// TestGoneOnce asks no second time for a project that was seen to be gone, whichever account
// answers then; any other answer about it takes that back.
func TestGoneOnce(t *testing.T) {
	s := newService()
	s.control.Expect(one)
	_ = s.answer("GetProject", one, "")
	gone := func() bool {
		gone, err := s.control.Gone(t.Context(), one, s.answer("GetTags", one, "NotFoundProject"))
		return gone && err == nil
	}
	if !gone() || s.waited != account.Recheck {
		t.Errorf("not seen to be gone after %s", s.waited)
	}
	s.asked, s.credential = nil, wrong
	if !gone() || len(s.asked) != 1 {
		t.Errorf("asked again: %v", s.asked)
	}
	s.credential = right
	_ = s.answer("GetTags", one, "")
	if s.asked = nil; !gone() || len(s.asked) != 3 {
		t.Errorf("after it was read it was not asked for again: %v", s.asked)
	}
}

// TestNotListed looks again for projects that were never seen.
func TestNotListed(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(s *service)
		listed  int
		fails   func(error) bool
	}{
		{name: "nothing is known of the account", listed: 1, prepare: func(*service) {}},
		{name: "it is listed", prepare: func(s *service) { s.listed = append(s.listed, never) }, fails: isContradiction},
		{name: "it is there at the second look", prepare: func(s *service) { s.onWait = func() { s.projects = append(s.projects, never) } }, fails: isContradiction},
		{name: "others of the command were seen", listed: 1, prepare: func(s *service) {
			s.control.Expect(two)
			_ = s.answer("GetProject", two, "")
		}},
		{name: "others were seen with another key", fails: isUncontrolled, prepare: func(s *service) {
			s.control.Expect(one)
			_ = s.answer("GetProject", one, "")
			s.credential = wrong
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newService(two)
			c.prepare(s)
			_ = s.answer("GetProject", never, "NotFoundProject")
			listed, err := s.control.NotListed(t.Context(), []uuid.UUID{never})
			if (err != nil) != (c.fails != nil) || c.fails != nil && !c.fails(err) || err == nil && listed != c.listed {
				t.Errorf("%d listed: %v", listed, err)
			}
			if s.waited != account.Recheck {
				t.Errorf("waited %s", s.waited)
			}
		})
	}
}

// TestOthers lists the projects that show whose a key is once all that was planned is gone. A
// listing that lacks what was planned may be another account's, or what was planned may be of two.
func TestOthers(t *testing.T) {
	many := make([]uuid.UUID, 2*account.MaxKnown)
	for i := range many {
		many[i] = uuid.UUID{1, byte(i)}
	}
	for _, c := range []struct {
		name   string
		own    bool
		listed []uuid.UUID
		more   []uuid.UUID // planned, beside the first
		want   []uuid.UUID
		fails  bool
		calls  int
	}{
		{name: "what is planned is listed", listed: []uuid.UUID{never, one, two}, want: []uuid.UUID{two, never}, calls: 1},
		{name: "all of what is planned is listed", listed: []uuid.UUID{never, one, two}, more: []uuid.UUID{two}, want: []uuid.UUID{never}, calls: 1},
		{name: "a part of what is planned is listed", listed: []uuid.UUID{never, one}, more: []uuid.UUID{two}, fails: true, calls: 1},
		{name: "nothing planned is listed", listed: []uuid.UUID{never, two}, fails: true, calls: 1},
		{name: "only what is planned is listed", listed: []uuid.UUID{one}, calls: 1},
		{name: "very many are listed", listed: append([]uuid.UUID{one}, many...), want: many[:account.MaxKnown], calls: 1},
		{name: "the host says whose it is", own: true, listed: []uuid.UUID{one, two}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newService()
			s.own, s.listed = c.own, c.listed
			others, err := s.control.Others(t.Context(), append(c.more, one))
			if (err != nil) != c.fails || c.fails && !isContradiction(err) || !slices.Equal(others, c.want) || len(s.asked) != c.calls {
				t.Errorf("after %d calls %v: %v", len(s.asked), others, err)
			}
		})
	}
}

// TestOthersOfAnotherCommand has a second command plan after a first one has listed the projects:
// that listing counts for a few seconds, to the same credential, and where all that is planned is
// in it. Any other is made again, and judged.
func TestOthersOfAnotherCommand(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(s *service)
		plan   uuid.UUID
		calls  int
		fails  bool
	}{
		{name: "at once", plan: two},
		{name: "four seconds later", change: func(s *service) { s.clock = s.clock.Add(4 * time.Second) }, plan: two},
		{name: "five seconds later", change: func(s *service) { s.clock = s.clock.Add(5 * time.Second) }, plan: two, calls: 1},
		{name: "the clock was set back", change: func(s *service) { s.clock = s.clock.Add(-time.Second) }, plan: two, calls: 1},
		{name: "by another credential of the account", change: func(s *service) { s.credential = rotated }, plan: two, calls: 1},
		{name: "by a credential of another account", change: func(s *service) { s.credential, s.listed = wrong, []uuid.UUID{never} }, plan: two, calls: 1, fails: true},
		{name: "a project that was made since", change: func(s *service) { s.listed = []uuid.UUID{one, two, never} }, plan: never, calls: 1},
		{name: "a project that is not listed", plan: never, calls: 1, fails: true},
		{name: "by a process that shares no listings", change: func(s *service) { s.listings = nil }, plan: two, calls: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newService(one, two, never)
			s.listed, s.listings = []uuid.UUID{one, two}, &account.Listings{}
			s.begin()
			if _, err := s.control.Others(t.Context(), []uuid.UUID{one}); err != nil {
				t.Fatal(err)
			}
			if c.change != nil {
				c.change(s)
			}
			s.begin()
			s.asked = nil
			if err := s.answer("GetProject", c.plan, ""); err != nil {
				t.Fatal(err)
			}
			others, err := s.control.Others(t.Context(), []uuid.UUID{c.plan})
			if (err != nil) != c.fails || c.fails && !isContradiction(err) || len(s.asked) != 1+c.calls {
				t.Errorf("asked %v: %v", s.asked, err)
			}
			if !c.fails && !slices.Contains(others, one) {
				t.Errorf("others are %v", others)
			}
		})
	}
}

// TestOthersProve has another key after all that was planned is gone: it is the account's if it
// lists one of the others.
func TestOthersProve(t *testing.T) {
	for _, same := range []bool{true, false} {
		s := newService(one, two)
		others, err := s.control.Others(t.Context(), []uuid.UUID{one})
		if err != nil {
			t.Fatal(err)
		}
		s.begin()
		s.control.Expect(append(others, one)...)
		s.credential, s.projects, s.listed = rotated, nil, []uuid.UUID{never}
		if same {
			s.listed = []uuid.UUID{never, two}
		}
		gone, err := s.control.Gone(t.Context(), one, s.answer("GetProject", one, "NotFoundProject"))
		if gone != same || same != (err == nil) || !same && !isUncontrolled(err) {
			t.Errorf("the same account %t: gone %t: %v", same, gone, err)
		}
	}
}

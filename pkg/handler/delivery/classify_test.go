package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/shortage"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// noFiles is what a connection fails with that this process has no file for.
var noFiles = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)}

// sentinels are the errors that the packages below declare, by name, with the class of each.
var sentinels = map[string]struct {
	err  error
	want delivery.Class
}{
	"cv.ErrGone":           {cv.ErrGone, delivery.Gone},
	"cv.ErrThrottled":      {cv.ErrThrottled, delivery.Throttled},
	"cv.ErrMisconfigured":  {cv.ErrMisconfigured, delivery.Misconfigured},
	"cv.ErrUnavailable":    {cv.ErrUnavailable, delivery.Retryable},
	"cv.ErrTooSlow":        {cv.ErrTooSlow, delivery.Retryable},
	"cv.ErrReadOnly":       {cv.ErrReadOnly, delivery.Permanent},
	"cv.ErrPublished":      {cv.ErrPublished, delivery.Permanent},
	"cv.ErrUntrained":      {cv.ErrUntrained, delivery.Permanent},
	"cv.ErrLinkExpired":    {cv.ErrLinkExpired, delivery.Permanent},
	"cv.ErrBadLink":        {cv.ErrBadLink, delivery.Permanent},
	"cv.ErrHostNotAllowed": {cv.ErrHostNotAllowed, delivery.Permanent},
	"cv.ErrTooLarge":       {cv.ErrTooLarge, delivery.Permanent},
	"cv.ErrBatchTooBig":    {cv.ErrBatchTooBig, delivery.Permanent},
	"cv.ErrUnstable":       {cv.ErrUnstable, delivery.Retryable},

	"sink.ErrNotFound":      {sink.ErrNotFound, delivery.Retryable},
	"sink.ErrUnsealed":      {sink.ErrUnsealed, delivery.Retryable},
	"sink.ErrConflict":      {sink.ErrConflict, delivery.Retryable},
	"sink.ErrThrottled":     {sink.ErrThrottled, delivery.Throttled},
	"sink.ErrUnavailable":   {sink.ErrUnavailable, delivery.Retryable},
	"sink.ErrMisconfigured": {sink.ErrMisconfigured, delivery.Misconfigured},
	"sink.ErrNotKept":       {sink.ErrNotKept, delivery.Permanent},
	"sink.ErrNotEncrypted":  {sink.ErrNotEncrypted, delivery.Permanent},
	"sink.ErrWantsTLS":      {sink.ErrWantsTLS, delivery.Misconfigured},
	"sink.ErrNotS3":         {sink.ErrNotS3, delivery.Misconfigured},
	"sink.ErrMixed":         {sink.ErrMixed, delivery.Permanent},

	"contract.ErrNoJob":     {contract.ErrNoJob, delivery.Retryable},
	"contract.ErrConflict":  {contract.ErrConflict, delivery.Fenced},
	"contract.ErrNoMessage": {contract.ErrNoMessage, delivery.Retryable},
	"contract.ErrNewer":     {contract.ErrNewer, delivery.Retryable},

	"delivery.ErrFenced":    {delivery.ErrFenced, delivery.Fenced},
	"delivery.ErrStopping":  {delivery.ErrStopping, delivery.Stopping},
	"delivery.ErrLeaseLost": {delivery.ErrLeaseLost, delivery.Fenced},
	"delivery.ErrEnded":     {delivery.ErrEnded, delivery.Ended},
	"delivery.ErrRefused":   {delivery.ErrRefused, delivery.Permanent},
}

func TestClassifySentinels(t *testing.T) {
	for name, c := range sentinels {
		if got := delivery.Classify(t.Context(), fmt.Errorf("read it: %w", c.err)); got != c.want {
			t.Errorf("%s is %s, not %s", name, got, c.want)
		}
	}
	for _, dir := range []string{"../../cv", "../../sink", "../contract", "."} {
		for _, name := range declaredErrors(t, dir) {
			if _, ok := sentinels[name]; !ok {
				t.Errorf("%s has no case here: say which class it is", name)
			}
		}
	}
}

// declaredErrors are the exported variables of a package whose names begin with Err, qualified.
func declaredErrors(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			declared, ok := d.(*ast.GenDecl)
			if !ok || declared.Tok != token.VAR {
				continue
			}
			for _, s := range declared.Specs {
				for _, variable := range s.(*ast.ValueSpec).Names {
					if strings.HasPrefix(variable.Name, "Err") {
						names = append(names, f.Name.Name+"."+variable.Name)
					}
				}
			}
		}
	}
	if len(names) == 0 {
		t.Fatalf("no errors are declared in %s: is the package elsewhere?", path.Base(dir))
	}
	return names
}

func TestClassify(t *testing.T) {
	cancelled := func(cause error) context.Context {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		return ctx
	}
	expired, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	status := func(op string, status int, code string) error {
		return fmt.Errorf("call it: %w", &cv.Error{Op: op, Status: status, Code: code})
	}
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
		want delivery.Class
	}{
		{"nothing went wrong", t.Context(), nil, delivery.Done},
		{"nothing went wrong before the drain", cancelled(delivery.ErrStopping), nil, delivery.Done},
		{"the command's own error", t.Context(), &contract.Error{Code: contract.CodeNotFound}, delivery.Permanent},
		{"the command's own error, of what is unavailable", t.Context(), errors.Join(&contract.Error{}, cv.ErrUnavailable), delivery.Permanent},
		{"an error that no package declares", t.Context(), errors.New("disk full"), delivery.Retryable},
		{"a newer version, with its particulars", t.Context(), &contract.NewerError{What: "job", V: 9}, delivery.Retryable},

		{"too many open files for a download", t.Context(), &cv.Error{Op: "GetBlob", Err: fmt.Errorf("%w: %w", cv.ErrUnavailable, noFiles)}, delivery.Misconfigured},
		{"too many open files for a call", t.Context(), &cv.Error{Op: "GetTags", Err: fmt.Errorf("%w: %w", cv.ErrMisconfigured, noFiles)}, delivery.Misconfigured},
		{"too many open files for the store", t.Context(), &sink.Error{Op: "put object", Err: noFiles}, delivery.Misconfigured},
		{"a full folder for temporary files", t.Context(), &cv.Error{Op: "GetBlob", Status: 200, Err: shortage.Folder("/tmp", 1, syscall.ENOSPC)}, delivery.Misconfigured},
		{"a refusal that is a shortage", t.Context(), fmt.Errorf("%w: %w", delivery.ErrRefused, syscall.ENOMEM), delivery.Misconfigured},
		{"a shortage after the command ended", cancelled(delivery.ErrEnded), syscall.ENOSPC, delivery.Ended},
		{"a shortage at a drain", cancelled(delivery.ErrStopping), syscall.ENOSPC, delivery.Stopping},

		{"a drain", cancelled(delivery.ErrStopping), context.Canceled, delivery.Stopping},
		{"a drain while the service is down", cancelled(delivery.ErrStopping), cv.ErrUnavailable, delivery.Stopping},
		{"a drain after the command failed", cancelled(delivery.ErrStopping), &contract.Error{}, delivery.Stopping},
		{"a drain after another holder took over", cancelled(delivery.ErrStopping), delivery.ErrFenced, delivery.Fenced},
		{"a lost lease", cancelled(delivery.ErrLeaseLost), context.Canceled, delivery.Fenced},
		{"a command that ended elsewhere", cancelled(delivery.ErrEnded), context.Canceled, delivery.Ended},
		{"a context cancelled without a cause", cancelled(nil), context.Canceled, delivery.Retryable},
		{"a deadline", expired, context.DeadlineExceeded, delivery.Retryable},
		{"a deadline of a call within", t.Context(), context.DeadlineExceeded, delivery.Retryable},

		{"400", t.Context(), status("GetTags", 400, "BadRequest"), delivery.Permanent},
		{"401", t.Context(), status("GetTags", 401, ""), delivery.Misconfigured},
		{"404 with the API's code", t.Context(), status("GetTags", 404, "NotFoundIteration"), delivery.Gone},
		{"404 without one", t.Context(), status("GetTags", 404, ""), delivery.Misconfigured},
		{"408", t.Context(), status("GetTags", 408, ""), delivery.Retryable},
		{"409", t.Context(), status("GetTags", 409, ""), delivery.Permanent},
		{"429", t.Context(), status("GetTags", 429, ""), delivery.Throttled},
		{"500", t.Context(), status("GetTags", 500, ""), delivery.Retryable},
		{"503 with a wait", t.Context(), &cv.Error{Op: "GetTags", Status: 503, RetryAfter: time.Second}, delivery.Throttled},
		{"no answer", t.Context(), &cv.Error{Op: "GetTags", Err: errors.New("reset")}, delivery.Retryable},
		{"403 of a download", t.Context(), status("GetBlob", 403, ""), delivery.Permanent},
		{"404 of a download", t.Context(), status("GetBlob", 404, ""), delivery.Permanent},
		{"400 of the store", t.Context(), &sink.Error{Op: "put object", Status: 400}, delivery.Retryable},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := delivery.Classify(c.ctx, c.err); got != c.want {
				t.Errorf("%v is %s, not %s", c.err, got, c.want)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want time.Duration
	}{
		{"none", nil, 0},
		{"a sentinel", cv.ErrThrottled, 0},
		{"the service", fmt.Errorf("list: %w", &cv.Error{Status: 429, RetryAfter: 7 * time.Second}), 7 * time.Second},
		{"the service does not say", &cv.Error{Status: 429}, 0},
		{"the store", fmt.Errorf("put: %w", &sink.Error{Status: 503, RetryAfter: 3 * time.Second}), 3 * time.Second},
	} {
		if got := delivery.RetryAfter(c.err); got != c.want {
			t.Errorf("%s: %s, not %s", c.name, got, c.want)
		}
	}
}

func TestVerdict(t *testing.T) {
	own := &contract.Error{Code: contract.CodeExhausted, Message: "enough"}
	for _, c := range []struct {
		name string
		err  error
		want contract.Error
	}{
		{"the command's own error", fmt.Errorf("run: %w", own), *own},
		{"what was named is gone", fmt.Errorf("read: %w", cv.ErrGone), contract.Error{Code: contract.CodeNotFound, Message: "read: not there"}},
		{"read-only", fmt.Errorf("delete: %w", cv.ErrReadOnly), contract.Error{Code: contract.CodeReadOnly, Message: "delete: read-only during disaster recovery"}},
		{"the request's id", &cv.Error{Op: "GetTags", Status: 400, RequestID: "r-1"}, contract.Error{Code: contract.CodeInternal, Message: "GetTags: 400 (request r-1)", RequestID: "r-1"}},
		{"anything else", errors.New("disk full"), contract.Error{Code: contract.CodeInternal, Message: "disk full"}},
	} {
		if got := delivery.Verdict(t.Context(), c.err); *got != c.want {
			t.Errorf("%s: %+v, not %+v", c.name, *got, c.want)
		}
	}
}

func TestProblemOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("list: %w", cv.ErrMisconfigured), "training:main"},
		{&cv.Error{Op: "GetTags", Status: 401}, "training:main"},
		{fmt.Errorf("put: %w", sink.ErrMisconfigured), "storage"},
		{fmt.Errorf("list: %w: %w", cv.ErrMisconfigured, noFiles), "host"},
		{fmt.Errorf("put: %w: %w", sink.ErrMisconfigured, shortage.Folder("/tmp", 1, syscall.ENOSPC)), "host"},
	} {
		got, problem := delivery.ProblemOf(c.err, "main")
		if got != c.want || (got == "host") != (shortage.Of(problem) == problem) {
			t.Errorf("%v is about %s, not %s: %v", c.err, got, c.want, problem)
		}
		if wait := delivery.WaitFor(c.err); (wait == contract.WaitCredential) != strings.HasPrefix(got, "training") {
			t.Errorf("%v is waited for as %s", c.err, wait)
		}
	}
}

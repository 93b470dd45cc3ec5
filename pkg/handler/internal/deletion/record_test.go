package deletion

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deleterecord"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// TestStoreKept stores kept records at the end of an attempt, unless another replica may hold the
// command by then: it may have ended it and removed the working objects.
func TestStoreKept(t *testing.T) {
	over := func(cause error) context.Context {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		return ctx
	}
	for name, c := range map[string]struct {
		ctx    context.Context
		err    error
		stores bool
	}{
		"it failed":                     {t.Context(), errors.New("failed"), true},
		"the process stops":             {over(delivery.ErrStopping), context.Canceled, true},
		"fenced":                        {t.Context(), delivery.ErrFenced, false},
		"fenced by the job":             {over(delivery.ErrFenced), context.Canceled, false},
		"the job is another holder's":   {t.Context(), contract.ErrConflict, false},
		"its lease is lost":             {over(delivery.ErrLeaseLost), context.Canceled, false},
		"its lease was lost during err": {t.Context(), delivery.ErrLeaseLost, false},
	} {
		t.Run(name, func(t *testing.T) {
			requests := 0
			server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests++ }))
			defer server.Close()
			api, err := sink.Client(t.Context(), sink.Options{Endpoint: server.URL, Region: "eu-central-1", PathStyle: true, Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")})
			if err != nil {
				t.Fatal(err)
			}
			layout, err := sink.NewLayout("", "del-1")
			if err != nil {
				t.Fatal(err)
			}
			d := &Deleter{Bags: bag.Bags{Work: sink.NewStore(api, sink.StoreOptions{Bucket: "bucket"}), Layout: layout, SpoolDir: t.TempDir()}, Ledger: ledger.Begin(nil, "cv", "del-1")}
			d.small = true
			if _, err := d.records().Write(t.Context(), deleterecord.Step{Project: uuid.New(), Name: "images"}, func(func(bagfile.Deleted) bool) {}); err != nil {
				t.Fatal(err)
			}
			d.storeKept(c.ctx, c.err)
			if stored := requests > 0; stored != c.stores {
				t.Errorf("%d requests", requests)
			}
		})
	}
}

package worker

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/known"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

type coordinatesNothing struct{ Activities }

func (coordinatesNothing) Coordinating(string) bool { return false }

// TestStoredInTheVersionOfItsUnit stores what a unit of an older coordinator, as in a rolling
// upgrade, leads to: that coordinator reads it, and so do the workers of its version.
func TestStoredInTheVersionOfItsUnit(t *testing.T) {
	stored := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		var versioned struct{ V int }
		line, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(line, &versioned)
		}
		if err != nil {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		stored[path.Base(r.URL.Path)] = versioned.V
		w.Header().Set("X-Amz-Checksum-Sha256", r.Header.Get("X-Amz-Checksum-Sha256"))
	}))
	defer server.Close()
	api, err := sink.Client(t.Context(), sink.Options{Endpoint: server.URL, PathStyle: true, Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")})
	if err != nil {
		t.Fatal(err)
	}
	layout, err := sink.NewLayout("", "exp-1")
	if err != nil {
		t.Fatal(err)
	}
	const older = unit.Version - 1
	a := &attempt{
		w:    &Worker{Config: Config{Activities: coordinatesNothing{}, Results: &known.Results{}}},
		unit: unit.Unit{V: older, N: 7, Kind: unit.KindPage, Fetch: true}, layout: layout, own: sink.NewStore(api, sink.StoreOptions{Bucket: "bucket"}), number: 1,
		calls: ledger.NewRecorder(nil),
	}
	if _, _, err := a.frozen(t.Context(), func(context.Context) (reading, error) { return reading{V: unit.Version}, nil }); err != nil {
		t.Error(err)
	}
	if err := a.storeResult(t.Context(), unit.Summary{}, nil); err != nil {
		t.Error(err)
	}
	for _, name := range []string{unit.ReadingName(7), unit.ResultName(7)} {
		if v := stored[path.Base(name)]; v != older {
			t.Errorf("%s has version %d", name, v)
		}
	}
}

// TestModelsOfOlderUnitsDoNotStream stores the models of an older coordinator's units as workers of
// its version do, which share the work.
func TestModelsOfOlderUnitsDoNotStream(t *testing.T) {
	const mib = 1 << 20
	store := sink.NewStore(s3.New(s3.Options{}), sink.StoreOptions{Bucket: "bucket"})
	for _, c := range []struct {
		version int
		length  int64
		want    bool
	}{
		{unit.Version, 65 * mib, true},
		{unit.Version - 1, 65 * mib, false},
		{unit.Version, 64 * mib, false},
		{unit.Version, -1, false},
	} {
		a := &attempt{unit: unit.Unit{V: c.version, Kind: unit.KindExports}, store: store}
		if got := a.streams(c.length); got != c.want {
			t.Errorf("version %d, %d bytes: %t", c.version, c.length, got)
		}
	}
	if v := (unit.Unit{Kind: unit.KindExports}).Oldest(); v != unit.Version {
		t.Errorf("workers of version %d get units of models", v)
	}
}

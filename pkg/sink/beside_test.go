package sink_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// besideBag is a bag of one object, in a store that faults can hold up.
func besideBag(t *testing.T, faults *sinktest.Faults) *sink.Bag {
	t.Helper()
	w := newWorld(t, sinktest.BucketOptions{})
	bag, err := sink.NewBag(sink.NewStore(w.server.FaultyClient(faults), w.options()), testRoot, t.TempDir())
	must(t, err)
	t.Cleanup(func() { _ = bag.Close() })
	_, err = bag.Put(t.Context(), sink.ExportFile, sink.Bytes([]byte("{}"), ""))
	must(t, err)
	return bag
}

// TestSealBeside holds up the listing of a bag until its files were read beside it.
func TestSealBeside(t *testing.T) {
	read := make(chan struct{})
	faults := sinktest.NewFaults(nil)
	faults.OnRequest = func(op, _ string, before bool) error {
		if before && op == "ListObjectsV2" {
			<-read
		}
		return nil
	}
	bag := besideBag(t, faults)
	sealed, err := bag.SealBeside(t.Context(), testInfo, func(_ context.Context, sealed sink.SealedBag) error {
		defer close(read)
		var names []sink.Path
		for file, err := range bag.Files() {
			must(t, err)
			names = append(names, file.Path)
		}
		if want := []sink.Path{sink.ExportFile, sink.BagInfoFile, sink.BagItFile, sink.ManifestFile, sink.TagManifestFile}; !slices.Equal(names, want) || sealed.Objects != len(want)+1 {
			t.Errorf("%v, and %+v", names, sealed)
		}
		return nil
	})
	if err != nil || sealed.PayloadObjects != 1 {
		t.Errorf("%+v: %v", sealed, err)
	}
}

// TestSealBesideFails has what runs beside fail, the listing, and both: what is wrong with the bag
// counts more, and ends what runs beside. The bag can be sealed again.
func TestSealBesideFails(t *testing.T) {
	errBeside := errors.New("beside")
	for name, c := range map[string]struct {
		list, beside bool
		want         error
	}{
		"beside": {beside: true, want: errBeside},
		"list":   {list: true, want: sink.ErrMisconfigured},
		"both":   {list: true, beside: true, want: sink.ErrMisconfigured},
	} {
		t.Run(name, func(t *testing.T) {
			faults := sinktest.NewFaults(nil)
			bag := besideBag(t, faults)
			if c.list {
				faults.Add(sinktest.Fault{Op: "ListObjectsV2", Status: 403, Times: -1})
			}
			_, err := bag.SealBeside(t.Context(), testInfo, func(ctx context.Context, _ sink.SealedBag) error {
				if c.beside {
					return errBeside
				}
				select {
				case <-ctx.Done():
				case <-time.After(time.Minute):
					t.Error("it goes on beside a listing that failed")
				}
				return nil
			})
			if !errors.Is(err, c.want) {
				t.Errorf("sealed: %v", err)
			}
			if _, err := bag.Open(t.Context(), sink.ExportFile); err == nil {
				t.Error("a bag that is not exact counts as sealed")
			}
			faults.Clear()
			if sealed, err := bag.Seal(t.Context(), testInfo); err != nil || sealed.PayloadObjects != 1 {
				t.Errorf("sealed again %+v: %v", sealed, err)
			}
		})
	}
}

// TestPagesBesideOthers has pages be put by several goroutines, and other files by another one.
func TestPagesBesideOthers(t *testing.T) {
	bag := besideBag(t, sinktest.NewFaults(nil))
	var g errgroup.Group
	for n := range 20 {
		g.Go(func() error {
			_, err := bag.PutPage(t.Context(), sink.Path(fmt.Sprintf("pages/%d.html", n)), sink.Bytes([]byte("page"), ""))
			return err
		})
		_, err := bag.Put(t.Context(), sink.Path(fmt.Sprintf("data/%d.json", n)), sink.Bytes([]byte("file"), ""))
		must(t, err)
	}
	must(t, g.Wait())
	if sealed, err := bag.Seal(t.Context(), testInfo); err != nil || sealed.PayloadObjects != 21 || sealed.Objects != 21+20+3+2 {
		t.Errorf("%+v: %v", sealed, err)
	}
}

package transfer_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

var (
	scaleImages = flag.Int("images", 100, "images that TestPackScale packs")
	scaleBytes  = flag.Int64("image-bytes", 10_000, "size of each")
)

// made is a bag whose pictures are made up as they are read.
type made struct {
	memory
	bytes int64
}

// Open implements verify.Source.
func (m made) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if !strings.HasSuffix(name, ".jpg") {
		return m.memory.Open(ctx, name)
	}
	return io.NopCloser(io.LimitReader(rand.NewChaCha8(sha256.Sum256([]byte(name))), m.bytes)), nil
}

// List implements verify.Source. It is not asked.
func (made) List(context.Context) iter.Seq2[verify.File, error] { return nil }

// TestPackScale packs as many images as are asked for, in memory that does not grow with their
// size; `make pack-scale` asks for 70,000 images and more than 4 GiB.
func TestPackScale(t *testing.T) {
	bag := made{golden(t, "nothing-found"), *scaleBytes}
	var manifest strings.Builder
	for i := range *scaleImages {
		name := fmt.Sprintf("data/projects/a2e7570a-5d0e-4e96-ba6d-125f56a98544/images/a0000000-0000-4000-8000-%012d.jpg", i)
		body, err := bag.Open(t.Context(), name)
		must(t, err)
		hash := sha256.New()
		_, err = io.Copy(hash, body)
		must(t, err)
		fmt.Fprintf(&manifest, "%s  %s\n", hex.EncodeToString(hash.Sum(nil)), name)
	}
	bag.memory["manifest-sha256.txt"] = manifest.String()
	sealTags(bag.memory)

	path := filepath.Join(t.TempDir(), "large.zip")
	file, err := os.Create(path)
	must(t, err)
	var first, most uint64
	must(t, open(t, bag).Pack(t.Context(), file, func(files int, _ int64) {
		if files == 20 || files%1000 == 0 {
			most = max(most, inUse())
		}
		if files == 20 {
			first = most
		}
	}))
	must(t, file.Close())
	info, err := os.Stat(path)
	must(t, err)
	// Each file's place in the archive's directory, twice where the collector has yet to run, and
	// what is read ahead.
	if limit := first + 128<<20 + uint64(*scaleImages)*1000; most > limit {
		t.Errorf("%d MiB of memory at first, %d at most", first>>20, most>>20)
	}
	t.Logf("%d images, %d MiB; %d MiB of memory at first, %d at most", *scaleImages, info.Size()>>20, first>>20, most>>20)

	archive, err := verify.OpenZip(path)
	must(t, err)
	defer archive.Close()
	want := *scaleImages
	for name := range bag.memory {
		if !strings.HasPrefix(name, "data/") {
			want++
		}
	}
	n := 0
	for _, err := range archive.List(t.Context()) {
		must(t, err)
		n++
	}
	if n != want {
		t.Errorf("the archive has %d files, not %d", n, want)
	}
	if out, err := exec.CommandContext(t.Context(), "unzip", "-tqq", path).CombinedOutput(); err != nil {
		t.Errorf("unzip: %v\n%s", err, out)
	}
}

// inUse is the memory of the process that is in use, in bytes.
func inUse() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}

// sealTags makes the tag manifest and the receipt of a changed bag agree with its manifest.
func sealTags(bag memory) {
	digest := func(name string) string { return sink.Bytes([]byte(bag[name]), "").SHA256 }
	lines := strings.SplitAfter(bag["tagmanifest-sha256.txt"], "\n")
	for i, line := range lines {
		if name := strings.TrimSpace(strings.TrimPrefix(line, strings.SplitN(line, " ", 2)[0])); name == "manifest-sha256.txt" {
			bag["receipt.json"] = strings.Replace(bag["receipt.json"], line[:64], digest(name), 1)
			lines[i] = digest(name) + "  " + name + "\n"
		}
	}
	before := digest("tagmanifest-sha256.txt")
	bag["tagmanifest-sha256.txt"] = strings.Join(lines, "")
	bag["receipt.json"] = strings.Replace(bag["receipt.json"], before, digest("tagmanifest-sha256.txt"), 1)
}

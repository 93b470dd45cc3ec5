package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// payloadFile is what is known of one file below data/. There is one in memory for each file.
type payloadFile struct {
	path   [16]byte // hash of the path
	size   int64    // -1: the source does not say
	digest digest   // in the manifest
	listed bool     // by the manifest
	blob   bool     // a record must speak of it
}

// digest stands for a SHA-256: its first half, and a hash of the second one, with a seed that is
// made for one verification.
type digest struct {
	half [16]byte
	rest [6]byte
}

// digestOf gives what stands for a SHA-256 in hex.
func (v *verifier) digestOf(sha256 string) (d digest) {
	_, _ = hex.Decode(d.half[:], []byte(sha256[:32])) // callers know that it is valid
	var rest [8]byte
	binary.LittleEndian.PutUint64(rest[:], maphash.String(v.seed, sha256[32:]))
	copy(d.rest[:], rest[:])
	return d
}

// pathHash stands for a path.
func pathHash(path sink.Path) [16]byte {
	sum := sha256.Sum256([]byte(path))
	return [16]byte(sum[:16])
}

// list notes every file.
func (v *verifier) list(ctx context.Context) error {
	tagFiles := 0
	upper := map[string]sink.Path{} // names with capital letters, by their lower-case form
	if src, ok := v.src.(sealedSource); ok {
		v.payload = make([]payloadFile, 0, src.bag.PayloadObjects()) // what grows takes twice as much
	}
	for file, err := range v.src.List(ctx) {
		if err != nil {
			return err
		}
		name := sink.Path(file.Name)
		v.report.Files++
		v.report.Bytes += max(file.Bytes, 0)
		if file.Irregular {
			v.problem(name, "it is not a regular file")
		}
		if file.Twice {
			v.problem(name, "the archive has more than one file of this name")
			continue
		}
		if err := name.Check(); err != nil {
			v.problem(name, "the name is not well-formed: %v", err)
		}
		if lower := strings.ToLower(file.Name); lower != file.Name && len(upper) < maxTagFiles {
			if other, ok := upper[lower]; ok {
				v.problem(name, "the name differs from that of %s in the case of letters only", quote(string(other)))
			}
			upper[lower] = name
		}
		if name.IsPayload() {
			v.listPayload(name, file.Bytes)
		} else if tagFiles++; tagFiles <= maxTagFiles {
			v.tagFiles[name] = file.Bytes
		}
	}
	if tagFiles > maxTagFiles {
		v.problem("", "there are %d files outside data/, at most %d are expected", tagFiles, maxTagFiles)
	}
	slices.SortFunc(v.payload, func(a, b payloadFile) int { return bytes.Compare(a.path[:], b.path[:]) })
	for lower, name := range upper {
		if _, ok := v.tagFiles[sink.Path(lower)]; ok || v.locate(sink.Path(lower)) >= 0 {
			v.problem(name, "the name differs from that of %s in the case of letters only", quote(lower))
		}
	}
	v.recorded = make([]bool, len(v.payload))
	if v.unknown > 0 {
		v.counted = slices.Repeat([]int64{-1}, len(v.payload))
	}
	v.report.Signature = Unsigned
	if _, ok := v.tagFiles[sink.SignatureFile]; ok {
		v.report.Signature = Unchecked
	}
	v.progress.AllFiles, v.progress.AllBytes = v.report.Files, v.report.Bytes
	return nil
}

// listPayload notes a file below data/.
func (v *verifier) listPayload(name sink.Path, size int64) {
	p := placeOf(name)
	v.payload = append(v.payload, payloadFile{path: pathHash(name), size: size, blob: p.shape == imageBlob || p.shape == predictionBlob})
	v.payloadBytes += max(size, 0)
	if size < 0 {
		v.unknown++
	}
	if p.project == uuid.Nil {
		return
	}
	of := v.projects[p.project]
	if of == nil {
		of = newProject(p.project)
		v.projects[p.project] = of
	}
	of.list(p)
	if p.shape == modelFile {
		of.modelBytes += max(size, 0)
	}
}

// checkNames names the files that a bag of this kind does not have.
func (v *verifier) checkNames(ctx context.Context) error {
	if v.receipt == nil {
		return nil
	}
	for file, err := range v.src.List(ctx) {
		if err != nil {
			return err
		}
		name := sink.Path(file.Name)
		if placeOf(name).allowed(v.kind) || name == sink.FailureFile || name.Check() != nil {
			continue
		}
		v.problem(name, "no bag of this kind has a file of this name")
	}
	return nil
}

// nameFiles notes a problem of each payload file that is wrong.
func (v *verifier) nameFiles(ctx context.Context, wrong func(i int) bool, what string) error {
	some := false
	for i := range v.payload {
		some = some || wrong(i)
	}
	if !some {
		return nil
	}
	for file, err := range v.src.List(ctx) {
		if err != nil {
			return err
		}
		if name := sink.Path(file.Name); name.IsPayload() {
			if i := v.locate(name); i < 0 || wrong(i) {
				v.problem(name, "%s", what)
			}
		}
	}
	return nil
}

// locate is the index of the payload file at a path, -1 when it is not there.
func (v *verifier) locate(path sink.Path) int {
	i, ok := slices.BinarySearchFunc(v.payload, pathHash(path), func(f payloadFile, h [16]byte) int { return bytes.Compare(f.path[:], h[:]) })
	if !ok {
		return -1
	}
	return i
}

// recordSize notes the size of a file that was read whole, where the source did not say it.
func (v *verifier) recordSize(name sink.Path, n int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !name.IsPayload() {
		if size, ok := v.tagFiles[name]; ok && size < 0 {
			v.report.Bytes += n // each of them is read once
		}
		return
	}
	if i := v.locate(name); i >= 0 && v.payload[i].size < 0 && v.counted[i] < 0 {
		v.counted[i] = n
		v.unknown--
		v.payloadBytes += n
		v.report.Bytes += n
		if p := placeOf(name); p.shape == modelFile {
			v.projects[p.project].modelBytes += n
		}
	}
}

// sizeOf is the size of the payload file at an index, -1 when it is not known.
func (v *verifier) sizeOf(i int) int64 {
	if size := v.payload[i].size; size >= 0 {
		return size
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.counted[i]
}

// listedSize is what the source said of a file's size, -1: nothing.
func (v *verifier) listedSize(name sink.Path) int64 {
	if size, ok := v.tagFiles[name]; ok {
		return size
	}
	if i := v.locate(name); i >= 0 {
		return v.payload[i].size
	}
	return -1
}

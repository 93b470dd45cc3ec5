package sink_test

import (
	"bytes"
	"io"
	"os"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

func TestSpool(t *testing.T) {
	dir := t.TempDir()
	s, err := sink.NewSpool(dir)
	if err != nil {
		t.Fatal(err)
	}
	for round := range uint64(3) { // a download that is repeated
		content := noise(round, 200_000+int(round))
		for part := range bytes.SplitAfterSeq(content, []byte{0}) {
			if _, err := s.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		body, want := s.Body("image/png"), sink.Bytes(content, "image/png")
		if body.Size != want.Size || body.SHA256 != want.SHA256 || body.ContentType != "image/png" || s.Size() != want.Size {
			t.Errorf("body is %+v", body)
		}
		for range 2 {
			if _, err := body.R.Seek(0, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(body.R); err != nil || !bytes.Equal(got, content) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
		}
		if err := s.Reset(); err != nil {
			t.Fatal(err)
		}
		if s.Size() != 0 {
			t.Errorf("size %d after Reset", s.Size())
		}
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if _, err := s.Write([]byte("x")); err == nil {
		t.Error("written to a closed spool")
	}
	if _, err := sink.NewSpool(dir + "/nowhere"); err == nil {
		t.Error("a spool in no folder")
	}
}

package sink_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cvconsumer/cvconsumer/internal/shortage"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

func TestSpool(t *testing.T) {
	dir := t.TempDir()
	s := sink.NewSpool(dir)
	if named, err := os.ReadDir(dir); err != nil || len(named) != 0 && runtime.GOOS != "windows" {
		t.Errorf("a process that is killed leaves %v, %v", named, err)
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
	nowhere := sink.NewSpool(dir + "/nowhere")
	_, err := nowhere.Write(noise(1, 100_000))
	if shortage.Of(err) == nil || nowhere.Close() != nil {
		t.Errorf("a spool in no folder: %v", err)
	}
}

// What is small takes no file: a spool of it works without a folder, and a reader of it is not
// disturbed by what is written later.
func TestSmallSpool(t *testing.T) {
	s := sink.NewSpool(t.TempDir() + "/nowhere")
	first, rest := noise(1, 40_000), noise(2, 20_000)
	if _, err := s.Write(first); err != nil {
		t.Fatal(err)
	}
	before := s.ReadSeeker()
	if _, err := s.Write(rest); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(before); err != nil || !bytes.Equal(got, first) {
		t.Errorf("the first reader has %d bytes, %v", len(got), err)
	}
	if got, err := io.ReadAll(s.ReadSeeker()); err != nil || !bytes.Equal(got, append(first, rest...)) {
		t.Errorf("the second reader has %d bytes, %v", len(got), err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestSpoolOnAFullDisk: whichever use of a spool meets a full disk, it is this machine's problem,
// and it is known how much room was needed.
func TestSpoolOnAFullDisk(t *testing.T) {
	for name, use := range map[string]func(*sink.Spool) error{
		"write": func(s *sink.Spool) error {
			_, err := s.Write(make([]byte, 1<<20))
			return err
		},
		"read": func(s *sink.Spool) error {
			if _, err := s.Write(make([]byte, 1<<10)); err != nil {
				return nil // too early
			}
			_, err := io.ReadAll(s.ReadSeeker())
			return err
		},
		"store": func(s *sink.Spool) error {
			if _, err := s.Write(make([]byte, 1<<10)); err != nil {
				return nil
			}
			_, err := sink.NewStore(s3.New(s3.Options{}), sink.StoreOptions{}).Put(t.Context(), "k", sink.Body{R: s.Body("").R})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := sink.NewSpool(t.TempDir())
			full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer full.Close()
			s.SetFile(full)
			lacking := shortage.Of(use(s))
			if lacking == nil || !errors.Is(lacking, syscall.ENOSPC) || !strings.Contains(lacking.Error(), "TMPDIR") || lacking.Bytes == 0 {
				t.Errorf("it says %+v", lacking)
			}
		})
	}
}

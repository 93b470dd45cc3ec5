package main

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
)

// giveKey writes a training key where the replicas read theirs. The file is replaced as a whole.
func (s *soak) giveKey(key string) {
	s.t.Helper()
	s.keys = append(s.keys, key)
	next := s.keyFile + ".next"
	if err := os.WriteFile(next, []byte(key), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Clean(s.keyFile)); err != nil {
		s.t.Fatal(err)
	}
}

// answered is how many calls the service answered with one of these statuses.
func (s *soak) answered(statuses ...int) (n int) {
	for _, c := range s.vision.Calls() {
		for _, status := range statuses {
			if c.Status == status {
				n++
			}
		}
	}
	return n
}

// swapKeys gives the replicas a key that the service refuses, then by mistake that of another
// account at the same endpoint, each until it was used, and then a new one of the right account:
// the key is rotated for good, and the old one is refused from then on.
func (s *soak) swapKeys() {
	s.t.Helper()
	n := len(s.keys)
	foreign, rotated := fmt.Sprintf("foreign-key-%d", n), fmt.Sprintf("rotated-key-%d", n)
	s.want(contract.ActionExport, s.exportData("many"), complete) // so that there are calls
	before := s.answered(http.StatusUnauthorized)
	s.giveKey(fmt.Sprintf("refused-key-%d", n))
	s.await("a call with the refused key", func() bool { return s.answered(http.StatusUnauthorized) > before })

	s.vision.OtherAccount(foreign)
	used := s.vision.CountElsewhere()
	s.giveKey(foreign)
	s.await("calls with the key of another account", func() bool { return s.vision.CountElsewhere() > used+2 })
	s.vision.SetKey(rotated)
	s.giveKey(rotated)
}

// burst has the service refuse everything for a while, in the ways of a wrong role and of a wrong
// path.
func (s *soak) burst() {
	status := []int{http.StatusForbidden, http.StatusNotFound}[s.bursts%2]
	s.vision.Fault(cvtest.Fault{Status: status, Times: 20})
	s.bursts++
}

// remakeCommands deletes the stream of commands and makes it again. Its messages are lost: their
// requesters see no end and publish them again, in the same order.
func (s *soak) remakeCommands() {
	s.t.Helper()
	s.await("an answer to each message without an id of its own", func() bool {
		s.underWay()
		for id, a := range s.asked {
			if strings.HasPrefix(id, "seq-") && s.over[string(a.action)+"."+id] == nil {
				return false
			}
		}
		return true
	})
	if err := s.js.DeleteStream(s.ctx, "CV_COMMANDS"); err != nil {
		s.t.Fatalf("delete CV_COMMANDS: %v", err)
	}
	if _, err := natsq.Open(s.ctx, s.js.Conn(), natsq.Options{Retention: 720 * time.Hour, Provision: true}); err != nil {
		s.t.Fatalf("make CV_COMMANDS again: %v", err)
	}
	s.remakes++
	s.underWay()
	s.sent = nil // sequences begin again
	s.identifyStream()
	for id := range s.asked { // the answers to messages of this stream take their places
		if strings.HasPrefix(id, "seq-") {
			s.replaced[id] = true
			delete(s.asked, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.asked)) {
		if a := s.asked[id]; s.over[string(a.action)+"."+id] == nil {
			again := s.publish(*a, a.data)
			*a = *again
			s.asked[id] = a // victims and cancels point to it
		}
	}
}

// identifyStream notes which stream the commands go to from now on.
func (s *soak) identifyStream() {
	s.t.Helper()
	var err error
	if s.stream, err = s.queue.CommandStream(s.ctx); err != nil {
		s.t.Fatal(err)
	}
}

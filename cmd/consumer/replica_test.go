package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A replica is `consumer run` as a process of its own, so that it can be killed and its memory
// measured.
type replica struct {
	cmd    *exec.Cmd
	log    *lockedBuffer
	ended  chan struct{} // closed when the process is gone
	exit   error         // of the process, once it is
	killed sync.Once
}

// program is how replicas are started.
type replicaProgram struct {
	path string   // of the executable
	name string   // argument 0
	env  []string // settings, beside those of the environment that every program needs
}

// itself is this test binary as the consumer: TestMain sees to that. Under the race detector the
// replicas are under it, too.
func itself(t testing.TB) replicaProgram {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatalf("find the test binary: %v", err)
	}
	return replicaProgram{path: path, name: "consumer"}
}

// built is the consumer as it is shipped: built without the race detector, whose memory is not the
// product's.
func built(t testing.TB) replicaProgram {
	t.Helper()
	path := filepath.Join(t.TempDir(), "consumer")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the consumer: %v\n%s", err, out)
	}
	return replicaProgram{path: path, name: path}
}

// with is the program with more settings; the last of a name counts.
func (p replicaProgram) with(env ...string) replicaProgram {
	p.env = append(p.env[:len(p.env):len(p.env)], env...)
	return p
}

// start starts a replica. It is killed at the end of the test, if it still runs then.
func (p replicaProgram) start(t testing.TB) *replica {
	t.Helper()
	r := &replica{log: &lockedBuffer{}, ended: make(chan struct{})}
	r.cmd = &exec.Cmd{Path: p.path, Args: []string{p.name, "run"}, Env: append([]string{"HOME=" + t.TempDir(), "TMPDIR=" + os.TempDir()}, p.env...), Stdout: r.log, Stderr: r.log}
	if err := r.cmd.Start(); err != nil {
		t.Fatalf("start a replica: %v", err)
	}
	go func() {
		r.exit = r.cmd.Wait()
		close(r.ended)
	}()
	t.Cleanup(r.kill)
	return r
}

// listening finds where a consumer says that its pages are.
var listening = regexp.MustCompile(`"http":"([^"]+)"`)

// base is where the replica's pages are, once it has said so.
func (r *replica) base(t testing.TB) string {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if found := listening.FindStringSubmatch(r.log.String()); found != nil {
			return "http://" + found[1]
		}
		select {
		case <-tick.C:
		case <-r.ended:
			t.Fatalf("a replica ends with %v\n%s", r.exit, r.log)
		}
	}
}

// await waits until everything the replica needs works.
func (r *replica) await(t testing.TB) {
	t.Helper()
	awaitReadiness(t, r.base(t), "a replica", isReady)
}

// kill ends the process as if its machine had been taken away.
func (r *replica) kill() {
	r.killed.Do(func() { _ = r.cmd.Process.Kill() })
	<-r.ended
}

// stop ends the process as an operator does, and demands that it ends well.
func (r *replica) stop(t testing.TB) {
	t.Helper()
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("stop a replica: %v", err)
	}
	<-r.ended
	if r.exit != nil {
		t.Errorf("a replica ends with %v\n%s", r.exit, tail(r.log.String()))
	}
}

// tail is the end of a log.
func tail(log string) string {
	const enough = 8 << 10
	return log[max(0, len(log)-enough):]
}

// memory is what the process holds of real memory now, and what it held at most, in bytes.
func (r *replica) memory(t testing.TB) (now, most int64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	if err != nil {
		t.Fatalf("read the memory of a replica: %v", err)
	}
	field := func(name string) int64 {
		_, rest, _ := strings.Cut(string(b), "\n"+name+":")
		line, _, _ := strings.Cut(rest, "\n")
		n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(line, "kB")), 10, 64)
		if err != nil {
			t.Fatalf("read the memory of a replica: %s:%s", name, line)
		}
		return n << 10
	}
	return field("VmRSS"), field("VmHWM")
}

// metrics are the numbers on the replica's page that have no labels.
func (r *replica) metrics(t testing.TB) map[string]float64 {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.base(t)+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("read the metrics of a replica: %v", err)
	}
	defer resp.Body.Close()
	all := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			all[name] = v
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatalf("read the metrics of a replica: %v", err)
	}
	return all
}

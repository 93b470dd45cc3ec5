package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// process is a program that runs for a benchmark. It ends with its standard input, if it is one of
// ours.
type process struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	log  bytes.Buffer // its standard error
	gone bool         // it has been waited for
}

// start starts a program with these settings and nothing else in its environment.
func start(ctx context.Context, settings map[string]string, path string, args ...string) (*process, error) {
	p := &process{name: path, cmd: exec.CommandContext(ctx, path, args...)} //nolint:gosec // programs that were just built
	for name, value := range settings {
		p.cmd.Env = append(p.cmd.Env, name+"="+value)
	}
	p.cmd.Stderr = &p.log
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.in, p.out = in, bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return p, nil
}

// line reads a line of the program's output.
func (p *process) line() (string, error) {
	line, err := p.out.ReadString('\n')
	if err != nil {
		return "", p.failed(err)
	}
	return strings.TrimSpace(line), nil
}

// failed is an error with what the program said of it.
func (p *process) failed(err error) error {
	const enough = 4 << 10
	p.kill() // after which the log is whole
	said := p.log.Bytes()
	return fmt.Errorf("%s: %w\n%s", p.name, err, said[max(0, len(said)-enough):])
}

// ask sends a line and reads the answer, which is JSON.
func (p *process) ask(into any, question string) error {
	if question != "" {
		if _, err := io.WriteString(p.in, question+"\n"); err != nil {
			return p.failed(err)
		}
	}
	line, err := p.line()
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(line), into); err != nil {
		return fmt.Errorf("%s answers %q: %w", p.name, line, err)
	}
	return nil
}

// kill ends the program whatever it does.
func (p *process) kill() {
	if !p.gone {
		p.gone = true
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// end closes the program's input and waits for it to end.
func (p *process) end() error {
	if p.gone {
		return nil // it failed, which was reported
	}
	_ = p.in.Close()
	_, _ = io.Copy(io.Discard, p.out)
	p.gone = true
	if err := p.cmd.Wait(); err != nil {
		return p.failed(err)
	}
	return nil
}

// stop ends a service, which does not mind its input.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(os.Interrupt) // it fails where there is nothing to stop
	return p.end()
}

// clockTick is the unit of processor time in /proc: it is the same on every Linux.
const clockTick = 10 * time.Millisecond

// cpu is the processor time that the program has taken, user and system.
func (p *process) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	return cpuOf(string(stat))
}

// cpuOf reads utime and stime, the 14th and 15th field; the second is a name in brackets.
func cpuOf(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/PID/stat is %q", stat)
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * clockTick, errors.Join(err, err2)
}

// peak is the most resident memory that the program has had, in bytes.
func (p *process) peak() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	return peakOf(string(status))
}

func peakOf(status string) (int64, error) {
	_, rest, found := strings.Cut(status, "\nVmHWM:")
	text, _, inKB := strings.Cut(rest, " kB")
	if !found || !inKB {
		return 0, errors.New("/proc/PID/status has no VmHWM")
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return n << 10, err
}

// measure reads what a piece of work takes of some programs: their processor time together, and the
// most memory that any of them has had.
func measure(now func() time.Time, programs []*process, work func() (files int, bytes int64, err error)) (sample, error) {
	cpu := func() (sum time.Duration, err error) {
		for _, p := range programs {
			one, err := p.cpu()
			if err != nil {
				return 0, err
			}
			sum += one
		}
		return sum, nil
	}
	before, err := cpu()
	if err != nil {
		return sample{}, err
	}
	begun := now()
	files, size, err := work()
	took := now().Sub(begun)
	if err != nil {
		return sample{}, err
	}
	after, err := cpu()
	s := sample{Took: took, CPU: after - before, Files: files, Bytes: size}
	for _, p := range programs {
		peak, err2 := p.peak()
		s.Peak, err = max(s.Peak, peak), errors.Join(err, err2)
	}
	return s, err
}

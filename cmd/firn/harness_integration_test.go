//go:build integration

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// These tests run the real program as a process beside clients and readers that are not ours. The Makefile's target integration says
// where those are: FIRN_BIN is the program, FIRN_PYTHON a Python with pyiceberg, duckdb and two Kafka clients.

const earthquakes = "../../examples/quickstart/earthquakes.jsonl"

const s3Key, s3Secret = "firn", "firnfirnfirn"

// waitLimit is how long a test waits for something that must happen; far above what it takes, for the machine may be busy.
const waitLimit = 90 * time.Second

// TestMain gives the tests and the programs that they start the key of the S3 servers that they start. Most of the tests wait most of the time, so
// they run several at a time; the Makefile says how many.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": s3Key, "AWS_SECRET_ACCESS_KEY": s3Secret} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func fromEnv(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set: run this by `make integration`", name)
	}
	return v
}

// process is a running firn.
type process struct {
	cmd   *exec.Cmd
	where map[string]string // what it printed of itself: "kafka" → address, …
	log   lockedBuffer
	done  chan struct{} // closed when it has ended
	err   error         // how it ended, after done
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs firn and returns when it says that it is ready. It is killed at the end of the test at the latest.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startProgram(t, "FIRN_BIN", args...)
}

// startProgram is start for the firn that an environment variable names.
func startProgram(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := launchProgram(t, name, args...)
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("log of firn %s:\n%s", args[0], tail(p.log.String(), 60))
		}
	})
	return p
}

func launch(t *testing.T, args ...string) *process {
	t.Helper()
	return launchProgram(t, "FIRN_BIN", args...)
}

func launchProgram(t *testing.T, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(fromEnv(t, name), args...), where: map[string]string{}, done: make(chan struct{})}
	p.cmd.Stderr = &p.log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	go func() {
		defer close(p.done)
		lines, isReady := bufio.NewScanner(out), false
		for lines.Scan() {
			fmt.Fprintln(&p.log, lines.Text())
			if isReady {
				continue
			}
			if words := strings.Fields(lines.Text()); len(words) > 1 {
				p.where[words[0]] = words[1]
			}
			if isReady = strings.HasPrefix(lines.Text(), "ready"); isReady {
				close(ready)
			}
		}
		p.err = p.cmd.Wait()
	}()
	select {
	case <-ready:
	case <-p.done:
		t.Fatalf("firn %s ended before it was ready: %v\n%s", strings.Join(args, " "), p.err, p.log.String())
	case <-time.After(waitLimit):
		p.kill()
		t.Fatalf("firn %s is not ready after %s\n%s", strings.Join(args, " "), waitLimit, p.log.String())
	}
	return p
}

// signal sends the process a signal.
func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// kill ends the process as a crash does, and waits until it is gone.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// stop ends the process as an operator does, and waits until it is gone.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.done:
		if p.err != nil {
			t.Errorf("after SIGTERM: %v", p.err)
		}
	case <-time.After(waitLimit):
		t.Fatalf("still running %s after SIGTERM\n%s", waitLimit, tail(p.log.String(), 60))
	}
}

func tail(s string, lines int) string {
	all := strings.Split(s, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// run executes a program that is not ours and returns what it printed.
func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*waitLimit)
	defer cancel()
	var errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out, tail(errOut.String(), 15))
	}
	return string(out), err
}

// killUntilDone starts firn and kills it, later each time, until it ends by itself, and does between after each kill. It wants some kills, and at
// most so many.
func killUntilDone(t *testing.T, delay time.Duration, most int, between func(), args ...string) (kills int) {
	t.Helper()
	for ; ; delay += delay / 4 {
		cmd, out := exec.Command(fromEnv(t, "FIRN_BIN"), args...), &lockedBuffer{}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err, out)
			}
			t.Logf("killed %d times", kills)
			if kills == 0 {
				t.Errorf("firn %s ended before it could be killed: give it more to do", args[0])
			}
			return kills
		case <-time.After(delay):
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-ended
		}
		if kills++; kills >= most {
			t.Fatalf("firn %s does not end", strings.Join(args, " "))
		}
		between()
	}
}

// eventually tries until try has no error, and fails with the last one when the time is up.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(errors.Join(err, ctx.Err()))
		}
	}
}

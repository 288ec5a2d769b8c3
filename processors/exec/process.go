package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/firn-io/firn/runtime/processor"
)

const (
	stderrTail = 2 << 10         // bytes of its standard error that are kept for messages
	endGrace   = 5 * time.Second // that a program has to end when its input has
	heldGrace  = time.Second     // that others who hold its standard error have when it has ended
)

// process is a running program. It knows one schema: another one needs another process.
type process struct {
	columns *arrow.Schema
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	stdout  io.ReadCloser
	writer  *ipc.Writer
	answers *answers
	said    *tail
}

func start(command []string, columns *arrow.Schema, limit int64, log *slog.Logger) (*process, error) {
	p := &process{columns: columns, cmd: exec.Command(command[0], command[1:]...), said: &tail{log: log}}
	ownGroup(p.cmd)
	p.cmd.Stderr = p.said
	p.cmd.WaitDelay = heldGrace
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start program %s: %w", command[0], err)
	}
	if p.stdout, err = p.cmd.StdoutPipe(); err != nil {
		return nil, fmt.Errorf("start program %s: %w", command[0], err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, unstarted(command[0], err)
	}
	p.writer = ipc.NewWriter(p.stdin, ipc.WithSchema(columns))
	p.answers = newAnswers(p.stdout, columns, limit)
	if err := limitData(p.cmd.Process.Pid, limit); err != nil {
		p.kill()
		return nil, fmt.Errorf("bound the memory of program %s, which may not be another user's: %w", command[0], err)
	}
	return p, nil
}

// unstarted is the error of a program that was not started. Where the machine has just no room for one more, that passes.
func unstarted(program string, err error) error {
	for _, lasting := range []error{fs.ErrNotExist, fs.ErrPermission, exec.ErrNotFound, exec.ErrDot, syscall.ENOEXEC} {
		if errors.Is(err, lasting) {
			return &processor.StuckError{Reason: fmt.Sprintf("start program %s: %v", program, err), Mend: "put the program where the job file says, with all that it needs to start, so that this process may run it"}
		}
	}
	return fmt.Errorf("start program %s: %w", program, err)
}

// exchange gives rows to the program and waits for its answer, which is the caller's to release. After an error the process is good for
// nothing.
func (p *process) exchange(ctx context.Context, rows arrow.RecordBatch, timeout time.Duration) (got arrow.RecordBatch, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	// Whoever is late loses its pipes, and with them the goroutine below ends.
	stop := context.AfterFunc(ctx, p.cut)
	defer stop()
	if p.answers.more() {
		return nil, errNotAsked
	}
	wrote := make(chan error, 1)
	go func() {
		err := p.writer.Write(rows)
		if err != nil {
			p.cut() // what it was not given it cannot answer, whoever holds its output open
		}
		wrote <- err
	}()
	got, err = p.answers.next()
	if err != nil {
		p.cut()
	}
	if e := <-wrote; e != nil && (err == nil || errors.Is(err, os.ErrClosed)) {
		err = fmt.Errorf("give it a batch: %w", e)
	}
	if err == nil && p.answers.more() {
		err = errNotAsked
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil && got != nil {
		got.Release()
		got = nil
	}
	return got, err
}

// cut kills the program and closes the pipes to it.
func (p *process) cut() {
	killGroup(p.cmd)
	p.stdin.Close()
	p.stdout.Close()
}

// end lets the program end by itself.
func (p *process) end() {
	grace := time.AfterFunc(endGrace, p.cut)
	defer grace.Stop()
	p.writer.Close()
	p.stdin.Close()
	io.Copy(io.Discard, p.stdout)
	p.cmd.Wait()
	p.answers.release()
}

// kill ends the program at once and gives the end of what it had to say.
func (p *process) kill() string {
	p.cut()
	p.cmd.Wait()
	p.answers.release()
	return p.said.String()
}

// tail logs what a program says, and keeps the end of it.
type tail struct {
	log *slog.Logger

	mu  sync.Mutex // guards end
	end []byte
}

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		t.log.Debug("the program says", "line", strings.TrimRight(string(line), "\n"))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = append(t.end, b...)
	t.end = t.end[max(0, len(t.end)-stderrTail):]
	return len(b), nil
}

// String is the end.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(strings.ToValidUTF8(string(t.end), "\uFFFD"))
}

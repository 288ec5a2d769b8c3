package exec

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

const (
	stderrTail = 2 << 10         // bytes of its standard error that are kept for messages
	endGrace   = 5 * time.Second // that a program has to end when its input has
)

// process is a running program. It knows one schema: another one needs another process.
type process struct {
	columns *arrow.Schema
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	stdout  io.ReadCloser
	writer  *ipc.Writer
	reader  *ipc.Reader // nil until the first answer
	limit   int64
	said    *tail
}

func start(command []string, columns *arrow.Schema, limit int64, log *slog.Logger) (*process, error) {
	p := &process{columns: columns, cmd: exec.Command(command[0], command[1:]...), limit: limit, said: &tail{log: log}}
	ownGroup(p.cmd)
	p.cmd.Stderr = p.said
	p.cmd.WaitDelay = endGrace
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start program %s: %w", command[0], err)
	}
	if p.stdout, err = p.cmd.StdoutPipe(); err != nil {
		return nil, fmt.Errorf("start program %s: %w", command[0], err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start program %s: %w", command[0], err)
	}
	if err := limitData(p.cmd.Process.Pid, limit); err != nil {
		p.kill()
		return nil, fmt.Errorf("bound the memory of program %s: %w", command[0], err)
	}
	p.writer = ipc.NewWriter(p.stdin, ipc.WithSchema(columns))
	return p, nil
}

// exchange gives rows to the program and waits for its answer, which is the caller's to release. After an error the process is good for
// nothing.
func (p *process) exchange(ctx context.Context, rows arrow.RecordBatch, timeout time.Duration) (got arrow.RecordBatch, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	// Whoever is late loses its pipes, and with them the goroutines below end.
	stop := context.AfterFunc(ctx, func() { killGroup(p.cmd); p.stdin.Close(); p.stdout.Close() })
	defer stop()
	wrote := make(chan error, 1)
	go func() { wrote <- p.writer.Write(rows) }()
	got, err = p.read()
	if err != nil {
		killGroup(p.cmd)
		p.stdin.Close()
	}
	if e := <-wrote; err == nil && e != nil {
		got.Release()
		err = fmt.Errorf("give it a batch: %w", e)
	}
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return got, err
}

// read takes the next batch that the program has written.
func (p *process) read() (arrow.RecordBatch, error) {
	if p.reader == nil {
		r, err := ipc.NewReader(&frames{in: bufio.NewReaderSize(p.stdout, 64<<10), most: p.limit}, ipc.WithAllocator(&bounded{memory.DefaultAllocator, p.limit}))
		if err != nil {
			return nil, fmt.Errorf("no Arrow stream came: %w", err)
		}
		p.reader = r
	}
	if !p.reader.Next() {
		if err := p.reader.Err(); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("its Arrow stream: %w", err)
		}
		return nil, errors.New("it ended its stream before it answered")
	}
	b := p.reader.RecordBatch()
	b.Retain()
	return b, nil
}

// end lets the program end by itself.
func (p *process) end() {
	p.writer.Close()
	p.stdin.Close()
	grace := time.AfterFunc(endGrace, func() { killGroup(p.cmd) })
	io.Copy(io.Discard, p.stdout)
	grace.Stop() // its output has ended; Wait bounds the rest
	p.cmd.Wait()
	p.release()
}

// kill ends the program at once and gives the end of what it had to say.
func (p *process) kill() string {
	killGroup(p.cmd)
	p.stdin.Close()
	p.cmd.Wait()
	p.release()
	return p.said.String()
}

func (p *process) release() {
	if p.reader != nil {
		p.reader.Release()
	}
}

// bounded is an allocator that gives no more than so much in all: an answer may claim any size.
type bounded struct {
	memory.Allocator
	most int64
}

func (b *bounded) Allocate(n int) []byte {
	b.check(n)
	return b.Allocator.Allocate(n)
}

func (b *bounded) Reallocate(n int, v []byte) []byte {
	b.check(n)
	return b.Allocator.Reallocate(n, v)
}

// check panics, which the reader of streams makes an error of.
func (b *bounded) check(n int) {
	if int64(n) > b.most {
		panic(fmt.Errorf("a buffer of %d bytes, at most %d", n, b.most))
	}
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

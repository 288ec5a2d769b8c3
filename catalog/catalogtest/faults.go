package catalogtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/apache/iceberg-go"
	icebergcat "github.com/apache/iceberg-go/catalog"
	icebergio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
)

// Fault is a way for an operation to go wrong.
type Fault string

const (
	None       Fault = ""
	FailBefore Fault = "fail before" // nothing is done; the answer claims that the outcome is unknown
	FailAfter  Fault = "fail after"  // it is done; the answer claims that it was refused
	LoseReply  Fault = "lose reply"  // it is done; no answer comes
	Late       Fault = "late"        // no answer comes; a commit is done only when the commit after it, or the second load, begins
)

// Faults are the ways that a walk tries.
var Faults = []Fault{FailBefore, FailAfter, LoseReply, Late}

var (
	errRefused = fmt.Errorf("%w: injected", table.ErrCommitFailed)
	errUnknown = errors.New("503 service unavailable: injected")
	errLost    = errors.New("connection reset: injected")
)

// Op is one operation of a client or of the files of its tables.
type Op struct {
	N    int    // counted from 0
	Name string // load, create table, create namespace, commit, create file, close file, open file, remove file
}

// Faulty is a client that fails where it is told to, and remembers what it was asked. It is safe for concurrent use.
type Faulty struct {
	client catalog.Client
	inject func(Op) Fault

	mu    sync.Mutex // guards what follows
	ops   []string
	late  func() error // a commit that was sent and is not there yet
	loads int          // since then
}

var _ catalog.Client = (*Faulty)(nil)

// NewFaulty wraps a client. inject says before each operation how it goes wrong; it may do things of its own on another client, such
// as a foreign commit. nil injects nothing.
func NewFaulty(client catalog.Client, inject func(Op) Fault) *Faulty {
	return &Faulty{client: client, inject: inject}
}

// Trace is the operations so far; of a commit, with what it requires and what it changes.
func (f *Faulty) Trace() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ops)
}

// Settle lets a late commit happen. What it answers went nowhere.
func (f *Faulty) Settle() {
	f.mu.Lock()
	late := f.late
	f.late = nil
	f.mu.Unlock()
	if late != nil {
		_ = late()
	}
}

// op counts an operation and asks for its fault.
func (f *Faulty) op(name, detail string) Fault {
	f.mu.Lock()
	op := Op{N: len(f.ops), Name: name}
	f.ops = append(f.ops, name+detail)
	f.mu.Unlock()
	if f.inject == nil {
		return None
	}
	return f.inject(op)
}

// do runs an operation with its fault. Where the answer is lost, so is the operation's own error.
func (f *Faulty) do(name, detail string, run func() error) error {
	switch f.op(name, detail) {
	case FailBefore:
		return errUnknown
	case FailAfter:
		_ = run()
		return errRefused
	case LoseReply:
		_ = run()
		return errLost
	case Late:
		if name != "commit" {
			return errLost
		}
		f.mu.Lock()
		f.late, f.loads = run, 0
		f.mu.Unlock()
		return errLost
	}
	return run()
}

// LoadTable loads; the files of the table fail as the client does.
func (f *Faulty) LoadTable(ctx context.Context, ident table.Identifier) (*table.Table, error) {
	f.mu.Lock()
	f.loads++
	due := f.loads > 1
	f.mu.Unlock()
	if due {
		f.Settle()
	}
	var t *table.Table
	err := f.do("load", "", func() (err error) {
		t, err = f.client.LoadTable(ctx, ident)
		return err
	})
	if err != nil {
		return nil, err
	}
	return f.wrap(t), nil
}

// ListTables lists, all at once.
func (f *Faulty) ListTables(ctx context.Context, namespace table.Identifier) iter.Seq2[table.Identifier, error] {
	return func(yield func(table.Identifier, error) bool) {
		var all []table.Identifier
		client, ok := f.client.(interface {
			ListTables(ctx context.Context, namespace table.Identifier) iter.Seq2[table.Identifier, error]
		})
		err := f.do("list", "", func() error {
			if !ok {
				return errors.New("the client cannot list")
			}
			for ident, err := range client.ListTables(ctx, namespace) {
				if err != nil {
					return err
				}
				all = append(all, ident)
			}
			return nil
		})
		if err != nil {
			yield(nil, err)
			return
		}
		for _, ident := range all {
			if !yield(ident, nil) {
				return
			}
		}
	}
}

// CreateTable creates.
func (f *Faulty) CreateTable(ctx context.Context, ident table.Identifier, schema *iceberg.Schema, opts ...icebergcat.CreateTableOpt) (*table.Table, error) {
	var t *table.Table
	err := f.do("create table", "", func() (err error) {
		t, err = f.client.CreateTable(ctx, ident, schema, opts...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return f.wrap(t), nil
}

// CommitTable commits.
func (f *Faulty) CommitTable(ctx context.Context, ident table.Identifier, reqs []table.Requirement, updates []table.Update) (table.Metadata, string, error) {
	f.Settle()
	var meta table.Metadata
	var location string
	err := f.do("commit", describe(reqs, updates), func() (err error) {
		meta, location, err = f.client.CommitTable(ctx, ident, reqs, updates)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return meta, location, nil
}

// describe is what a commit requires and what it changes.
func describe(reqs []table.Requirement, updates []table.Update) string {
	var b strings.Builder
	for _, r := range reqs {
		b.WriteString(" " + r.GetType())
	}
	b.WriteString(" |")
	for _, u := range updates {
		b.WriteString(" " + u.Action())
	}
	return b.String()
}

// CreateNamespace creates.
func (f *Faulty) CreateNamespace(ctx context.Context, namespace table.Identifier, props iceberg.Properties) error {
	return f.do("create namespace", "", func() error { return f.client.CreateNamespace(ctx, namespace, props) })
}

// shelver is what a client must be for what follows.
type shelver interface {
	RenameTable(ctx context.Context, from, to table.Identifier) (*table.Table, error)
	DropTable(ctx context.Context, ident table.Identifier) error
}

// RenameTable renames.
func (f *Faulty) RenameTable(ctx context.Context, from, to table.Identifier) (*table.Table, error) {
	var t *table.Table
	err := f.do("rename table", "", func() (err error) {
		client, ok := f.client.(shelver)
		if !ok {
			return errors.New("the client cannot rename")
		}
		t, err = client.RenameTable(ctx, from, to)
		return err
	})
	if err != nil {
		return nil, err
	}
	return f.wrap(t), nil
}

// DropTable drops.
func (f *Faulty) DropTable(ctx context.Context, ident table.Identifier) error {
	return f.do("drop table", "", func() error {
		client, ok := f.client.(shelver)
		if !ok {
			return errors.New("the client cannot drop")
		}
		return client.DropTable(ctx, ident)
	})
}

// wrap gives the table files that fail.
func (f *Faulty) wrap(t *table.Table) *table.Table {
	return table.New(t.Identifier(), t.Metadata(), t.MetadataLocation(), func(ctx context.Context) (icebergio.IO, error) {
		fs, err := t.FS(ctx)
		if err != nil {
			return nil, err
		}
		w, ok := fs.(icebergio.WriteFileIO)
		if !ok {
			return nil, fmt.Errorf("files at %s cannot be written", t.Location())
		}
		return &files{faulty: f, fs: w}, nil
	}, nil)
}

// files are a table's files that fail where the client is told to.
type files struct {
	faulty *Faulty
	fs     icebergio.WriteFileIO
}

var _ icebergio.WriteFileIO = (*files)(nil)

// Open opens a file.
func (f *files) Open(name string) (file icebergio.File, err error) {
	err = f.faulty.do("open file", "", func() (err error) {
		file, err = f.fs.Open(name)
		return err
	})
	if err != nil {
		if file != nil {
			_ = file.Close() // nobody gets it: the answer is lost
		}
		return nil, err
	}
	return file, nil
}

// Remove removes a file.
func (f *files) Remove(name string) error {
	return f.faulty.do("remove file", "", func() error { return f.fs.Remove(name) })
}

// WriteFile writes a file whole.
func (f *files) WriteFile(name string, content []byte) error {
	return f.faulty.do("create file", "", func() error { return f.fs.WriteFile(name, content) })
}

// Create begins a file.
func (f *files) Create(name string) (w icebergio.FileWriter, err error) {
	err = f.faulty.do("create file", "", func() (err error) {
		w, err = f.fs.Create(name)
		return err
	})
	if err != nil {
		if w != nil {
			_ = w.Close()
		}
		return nil, err
	}
	return &fileWriter{FileWriter: w, faulty: f.faulty}, nil
}

// fileWriter fails at its end, where stores do.
type fileWriter struct {
	icebergio.FileWriter
	faulty *Faulty
}

// Close ends the file.
func (w *fileWriter) Close() error {
	return w.faulty.do("close file", "", w.FileWriter.Close)
}

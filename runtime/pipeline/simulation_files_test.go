package pipeline

import (
	"context"
	"strings"

	icebergio "github.com/apache/iceberg-go/io"

	"github.com/firn-io/firn/catalog/catalogtest"
)

// simFiles are the files of a table as a process sees them; p is nil for those who see all.
type simFiles struct {
	l      *simLake
	p      *simProcess
	ctx    context.Context
	broken bool
}

var _ icebergio.WriteFileIO = simFiles{}

// do carries an operation on a data file out when the scheduler says so. Manifests are written and read by many goroutines of the
// library's own: they all fail, or none does.
func (f simFiles) do(what, name string, run func() error) error {
	switch {
	case f.p == nil:
		return run()
	case f.broken:
		return errSimUnknown
	case !strings.HasSuffix(name, ".parquet") || what == "open":
		if f.p.dead {
			return errSimGone
		}
		return run()
	}
	turn := f.p.stop(f.ctx, what+" "+strings.Split(strings.TrimPrefix(name, "mem://"), "/")[0], nil)
	switch {
	case turn.gone:
		return errSimGone
	case turn.fault == catalogtest.None:
		return run()
	case turn.fault != catalogtest.FailBefore:
		_ = run()
	}
	return errSimLost
}

// Open implements icebergio.IO.
func (f simFiles) Open(name string) (file icebergio.File, err error) {
	err = f.do("open", name, func() (err error) {
		file, err = f.l.files.Open(name)
		return err
	})
	return file, err
}

// Remove implements icebergio.IO.
func (f simFiles) Remove(name string) error {
	return f.do("remove", name, func() error {
		f.l.s.checkRemoved(name)
		return f.l.files.Remove(name)
	})
}

// WriteFile implements icebergio.WriteFileIO.
func (f simFiles) WriteFile(name string, content []byte) error {
	return f.do("write", name, func() error { return f.l.files.WriteFile(name, content) })
}

// Create implements icebergio.WriteFileIO.
func (f simFiles) Create(name string) (w icebergio.FileWriter, err error) {
	if w, err = f.l.files.Create(name); err != nil {
		return nil, err
	}
	return simWriting{w, f, name}, nil
}

// simWriting is a file that is written. It is there when it is closed.
type simWriting struct {
	icebergio.FileWriter
	files simFiles
	name  string
}

// Close implements io.Closer.
func (w simWriting) Close() error { return w.files.do("write", w.name, w.FileWriter.Close) }

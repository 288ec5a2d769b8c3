package exec

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
)

var errNotAsked = errors.New("it has answered what it was not asked; each batch has one answer, which is one batch " +
	"(pyarrow's write_table makes several of a table in chunks: use combine_chunks)")

// endOfStream is the message that ends an Arrow stream.
var endOfStream = []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}

// answers are the batches that a program writes.
type answers struct {
	pipe   io.Reader
	in     *bufio.Reader // of pipe
	given  *arrow.Schema // what the program is given
	limit  int64         // bytes of an answer
	reader *ipc.Reader   // nil until the first answer
}

func newAnswers(pipe io.Reader, given *arrow.Schema, limit int64) *answers {
	return &answers{pipe: pipe, in: bufio.NewReaderSize(pipe, 64<<10), given: given, limit: limit}
}

// next takes the next batch, which is the caller's to release. It is sound Arrow in columns that a table can have.
func (a *answers) next() (arrow.RecordBatch, error) {
	if a.reader == nil {
		r, err := ipc.NewReader(&frames{in: a.in, most: a.limit})
		if err != nil {
			return nil, fmt.Errorf("no Arrow stream came: %w", err)
		}
		if err := checkColumns(a.given, r.Schema()); err != nil {
			r.Release()
			return nil, fmt.Errorf("its columns: %w", err)
		}
		a.reader = r
	}
	if !a.reader.Next() {
		if err := a.reader.Err(); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("its Arrow stream: %w", err)
		}
		return nil, errors.New("it ended its stream before it answered")
	}
	b := a.reader.RecordBatch()
	if err := checkSound(b); err != nil {
		return nil, fmt.Errorf("its answer is no sound Arrow: %s", excerpt(err.Error()))
	}
	b.Retain()
	return b, nil
}

// more reports whether another answer has come already. That a program has ended its stream is none.
func (a *answers) more() bool {
	if f, ok := a.pipe.(*os.File); a.in.Buffered() == 0 && (!ok || !readable(f)) {
		return false
	}
	a.in.Peek(1)
	next, _ := a.in.Peek(min(a.in.Buffered(), len(endOfStream)))
	return !bytes.HasPrefix(endOfStream, next)
}

func (a *answers) release() {
	if a.reader != nil {
		a.reader.Release()
	}
}

// checkSound looks at every value. The library's check panics for some of what it is to find.
func checkSound(b arrow.RecordBatch) (err error) {
	i := 0
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("column %s: %v", b.ColumnName(i), p)
		}
	}()
	for ; i < int(b.NumCols()); i++ {
		if err := array.ValidateFull(b.Column(i)); err != nil {
			return fmt.Errorf("column %s: %w", b.ColumnName(i), err)
		}
		if !b.Schema().Field(i).Nullable && b.Column(i).NullN() > 0 {
			return fmt.Errorf("column %s: it says that it has no nulls, and has some", b.ColumnName(i))
		}
	}
	return nil
}

// checkColumns refuses columns that no table has. Those that were given may come back; the coordinates are checked with the rows.
func checkColumns(given, got *arrow.Schema) error {
	var reserved []string
	for _, f := range given.Fields()[:processor.Coordinates] {
		reserved = append(reserved, f.Name)
	}
	seen := map[string]bool{}
	for i, f := range got.Fields() {
		name := strings.ToLower(f.Name)
		if seen[name] {
			return fmt.Errorf("column %s comes twice, and engines compare names without case", f.Name)
		}
		seen[name] = true
		if i < processor.Coordinates || f.Type.ID() == arrow.NULL {
			continue
		}
		s, err := schema.FromArrow([]arrow.Field{f})
		if err == nil && !given.HasField(f.Name) {
			err = s.Validate(schema.NewReserved(reserved...))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// excerpt is what a message repeats of a program's text.
func excerpt(text string) string {
	const most = 1 << 10
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// Package jsonl is a sink that writes JSON lines: a table is a folder of a store, and every commit one object in it. The first line of an
// object is a header that says where the table stands after it, the others are rows.
//
//	{table}/00000000000000000007.jsonl
//
// An object is put if absent under the number behind the last one, so of two writers one wins, and rows and position come in one step:
// every offset is in the table once. It is for small streams and for trying things out; everything that a commit holds is in memory.
package jsonl

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/open"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
)

// Settings are what a job file says.
type Settings struct {
	URL string `yaml:"url" required:"true"` // where the tables are: s3://bucket/prefix, file:///dir or a folder
}

// Kind is the kind of sink.
func Kind() plugin.Sink {
	kind := plugin.NewSink(func(ctx context.Context, s Settings, _ plugin.SinkEnv) (*Tables, error) {
		store, err := open.Store(ctx, s.URL)
		return &Tables{Store: store, place: s.URL}, err
	})
	kind.Check, kind.CheckTable = check, checkTable
	return kind
}

func check(settings plugin.Decode) error {
	var s Settings
	if err := settings(&s); err != nil {
		return err
	}
	if s.URL == "" {
		return errors.New("url: say where the tables are, as file:///dir or s3://bucket/prefix")
	}
	if err := open.Check(s.URL); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	return nil
}

func checkTable(t plugin.Table, _ *arrow.Schema) error {
	if len(t.Partition) > 0 || len(t.Properties) > 0 {
		return errors.New("tables of sink jsonl have no partition and no properties")
	}
	return nil
}

// Tables are the tables in a store.
type Tables struct {
	Store blob.Store
	place string
}

// Place implements plugin.Placed.
func (t *Tables) Place() string { return t.place }

// Close closes the store.
func (t *Tables) Close() error {
	if c, ok := t.Store.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Open opens a sink. It does no I/O.
func (t *Tables) Open(_ context.Context, table plugin.Table) (processor.Sink, error) {
	if table.Name == "" || strings.ContainsAny(table.Name, "/\\") {
		return nil, fmt.Errorf("table %q: a folder cannot have that name", table.Name)
	}
	return &Sink{store: t.Store, prefix: table.Name + "/", spans: map[processor.Source]kfs.Span{}}, nil
}

// header is the first line of an object.
type header struct {
	Commit    string     `json:"commit"` // tells attempts apart
	Positions []position `json:"positions"`
}

// position is where the table stands in a source.
type position struct {
	Source processor.Source `json:"source"`
	Next   int64            `json:"next"`
}

// maxHeader bounds what is read of an object to find its header, in bytes.
const maxHeader = 16 << 20

// Sink is the sink of one table.
type Sink struct {
	store  blob.Store
	prefix string
	spans  map[processor.Source]kfs.Span // staged since the last Seal
	rows   bytes.Buffer                  // likewise
}

var (
	_ processor.Sink      = (*Sink)(nil)
	_ processor.Buffering = (*Sink)(nil)
)

// Buffered implements processor.Buffering.
func (s *Sink) Buffered() int64 { return int64(s.rows.Len()) }

// Committed implements processor.Sink.
func (s *Sink) Committed(ctx context.Context) (processor.Positions, error) {
	positions, _, _, err := s.load(ctx)
	return positions, err
}

// load reads the newest object's header. number is that of the next object.
func (s *Sink) load(ctx context.Context) (at processor.Positions, commit string, number int64, err error) {
	at = processor.Positions{}
	last := ""
	for page, err := range s.store.List(ctx, s.prefix, "") {
		if err != nil {
			return nil, "", 0, fmt.Errorf("list table %s: %w", s.prefix, err)
		}
		for _, o := range page.Objects {
			last = o.Key
		}
	}
	if last == "" {
		return at, "", 0, nil
	}
	if _, err := fmt.Sscanf(strings.TrimPrefix(last, s.prefix), "%d.jsonl", &number); err != nil {
		return nil, "", 0, &processor.HaltError{Reason: fmt.Sprintf("%s is none of this table's objects", last), Decide: "take it away"}
	}
	body, _, err := s.store.Get(ctx, last, blob.All)
	if err != nil {
		return nil, "", 0, fmt.Errorf("read %s: %w", last, err)
	}
	defer body.Close()
	var h header
	if err := json.NewDecoder(io.LimitReader(body, maxHeader)).Decode(&h); err != nil {
		return nil, "", 0, fmt.Errorf("header of %s: %w", last, err)
	}
	for _, p := range h.Positions {
		at[p.Source] = p.Next
	}
	return at, h.Commit, number + 1, nil
}

// Stage implements processor.Sink.
func (s *Sink) Stage(_ context.Context, b processor.Batch) error {
	span, ok := s.spans[b.Source]
	if !ok {
		span.Base = b.Span.Base
	}
	span.Next = b.Span.Next
	if b.Records != nil {
		var rows []json.RawMessage
		text, err := b.Records.MarshalJSON()
		if err == nil {
			err = json.Unmarshal(text, &rows)
		}
		if err != nil {
			s.reset()
			return fmt.Errorf("write rows as JSON: %w", err)
		}
		for _, row := range rows {
			s.rows.Write(row)
			s.rows.WriteByte('\n')
		}
	}
	s.spans[b.Source] = span
	return nil
}

// Seal implements processor.Sink. The rows travel with the group.
func (s *Sink) Seal(context.Context) (processor.Staged, error) {
	out := processor.Staged{Spans: s.spans, Data: bytes.Clone(s.rows.Bytes())}
	s.reset()
	return out, nil
}

func (s *Sink) reset() {
	s.spans = map[processor.Source]kfs.Span{}
	s.rows.Reset()
}

// Commit implements processor.Sink.
func (s *Sink) Commit(ctx context.Context, from, to processor.Positions, staged []processor.Staged) error {
	at, _, number, err := s.load(ctx)
	if err != nil {
		return err
	}
	for source, next := range from {
		if have, ok := at[source]; ok && have != next {
			return fmt.Errorf("table %s stands at offset %d of %s/%d, not at %d: %w", s.prefix, have, source.Topic, source.Partition, next, processor.ErrMoved)
		}
	}
	maps.Copy(at, to)
	h := header{Commit: rand.Text()}
	for source, next := range at {
		h.Positions = append(h.Positions, position{source, next})
	}
	body, err := json.Marshal(h)
	if err != nil {
		return err
	}
	body = append(body, '\n')
	for _, group := range staged {
		body = append(body, group.Data...)
	}
	key := fmt.Sprintf("%s%020d.jsonl", s.prefix, number)
	if _, err = s.store.Put(ctx, key, body, true); err == nil {
		return nil
	}
	// Whatever the error says: what is there under this number tells.
	if _, commit, _, e := s.load(ctx); e == nil && commit == h.Commit {
		return nil
	}
	if errors.Is(err, blob.ErrPrecondition) {
		return fmt.Errorf("%s is another writer's: %w", key, processor.ErrMoved)
	}
	return fmt.Errorf("write %s: %w", key, err)
}

// Discard implements processor.Sink. Nothing is kept of what was staged.
func (s *Sink) Discard(context.Context, []processor.Staged) error { return nil }

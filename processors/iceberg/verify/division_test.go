package verify_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	iceberglib "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/processors/iceberg/verify"
)

// TestDivision verifies two tables that share the records of a topic, by what receipts count and by reading.
func TestDivision(t *testing.T) {
	const other = "default.others"
	ten := func(l *lake) {
		l.commit(letters, source0, 0, 10, each(3, 4))
		l.commit(events, source0, 0, 10, []int64{0, 2, 4, 6, 8})
		l.commit(other, source0, 0, 10, []int64{1, 5, 7, 9})
	}
	const apart = "only --deep compares them"
	for _, c := range []struct {
		name          string
		make          func(l *lake)
		change        func(*verify.Config)
		shallow, deep []verify.Kind
		missing       []kfs.Span
		note          string // of the shallow one; the deep one has it if others have removed rows
	}{
		{"sound", ten, nil, nil, nil, nil, ""},
		{"a record is in none", func(l *lake) {
			ten(l)
			l.commit(events, source0, 10, 20, each(10, 16))
			l.commit(other, source0, 10, 20, each(17, 20))
		}, nil, []verify.Kind{verify.Missing}, []verify.Kind{verify.Missing}, []kfs.Span{{Base: 16, Next: 17}}, ""},
		{"a record is in none, as filters do", func(l *lake) {
			ten(l)
			l.commit(events, source0, 10, 20, each(10, 16))
			l.commit(other, source0, 10, 20, each(17, 20))
		}, func(c *verify.Config) { c.WholeTogether = false }, nil, nil, nil, ""},
		{"a record is in both", func(l *lake) {
			ten(l)
			l.commit(events, source0, 10, 20, each(10, 16))
			l.commit(other, source0, 10, 20, each(15, 20))
		}, nil, []verify.Kind{verify.Missing}, []verify.Kind{verify.Duplicate}, nil, ""},
		{"one table is ahead", func(l *lake) {
			ten(l)
			l.commit(events, source0, 10, 20, each(10, 16))
		}, nil, nil, nil, nil, apart},
		{"dead letters are ahead", func(l *lake) {
			ten(l)
			l.commit(letters, source0, 10, 20, each(12, 13))
		}, nil, nil, nil, nil, apart},
		{"nobody has counted rows", func(l *lake) {
			ten(l)
			l.property(source0, func(p *catalog.SourceProgress) { p.Rows = catalog.UnknownRows })
		}, nil, nil, nil, nil, apart},
		{"records are lost to one of them", func(l *lake) {
			ten(l)
			if err := l.forgo(source0, 10, 20); err != nil {
				l.t.Fatal(err)
			}
			l.commit(other, source0, 10, 20, each(15, 20))
		}, nil, nil, nil, nil, apart},
		{"somebody has removed rows", func(l *lake) {
			ten(l)
			l.remove("copy-on-write", 4, 5, nil)
		}, nil, nil, nil, nil, "others have removed rows"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLake(t)
			c.make(l)
			for _, read := range []bool{false, true} {
				division, rows, files, found := &verify.Division{}, int64(0), 0, int64(0)
				for _, name := range []string{events, other} {
					r := l.verify(func(cfg *verify.Config) {
						cfg.Table, cfg.Whole, cfg.WholeTogether, cfg.Division, cfg.Deep = name, false, true, division, read
						if c.change != nil {
							c.change(cfg)
						}
					})
					want(t, r)
					rows, files, found = rows+r.Rows, files+r.Files, found+r.Sources[0].Found
				}
				r := division.Report("default.{}")
				if r.Rows != rows || r.Files != files || r.Snapshots == 0 || read && r.Sources[0].Found != found {
					t.Errorf("%+v, want %d rows in %d files, %d read", r, rows, files, found)
				}
				if !read {
					want(t, r, c.shallow...)
				} else {
					want(t, r, c.deep...)
				}
				if read && c.missing != nil && !slices.Equal(r.Findings[0].Spans, c.missing) {
					t.Errorf("%v, want %v", r.Findings, c.missing)
				}
				if noted := c.note != "" && (!read || c.note != apart); noted != (len(r.Notes) == 1) || noted && !strings.Contains(r.Notes[0], c.note) {
					t.Errorf("deep %v: notes %q, want %q", read, r.Notes, c.note)
				}
			}
		})
	}
}

// TestRebuiltLetters has dead letters of which a rebuild has made rows and that are not marked yet.
func TestRebuiltLetters(t *testing.T) {
	l := newLake(t)
	l.commit(letters, source0, 0, 10, each(3, 4))
	l.commit(events, source0, 0, 10, each(0, 10))
	set := func(name, value string) {
		l.foreign(func(_ context.Context, _ *table.Table, tx *table.Transaction) error {
			return tx.SetProperties(iceberglib.Properties{name: value})
		})
	}
	set("firn.rebuilt.job", `{"commit":"c","config":"f","replaced":"before","superseded":{"`+iceberg.SourceKey(source0)+`":1},"progress":""}`)
	if r := l.verify(nil); len(r.Notes) > 0 || len(r.Findings) > 0 {
		t.Errorf("notes %q, findings %v", r.Notes, r.Findings)
	}
	set("firn.rebuilt-letters.job", "c")
	if r := l.verify(nil); len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "dead letters are left to be dealt with") {
		t.Errorf("notes %q", r.Notes)
	}
}

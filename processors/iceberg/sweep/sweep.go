// Package sweep deletes the files of a table that nothing refers to: what `firn sweep` does. Processes that were killed leave data files
// that no commit named, commits that lost leave manifests, and every commit leaves a metadata file and a manifest list that expiry forgets.
//
// A file goes only if all of this holds: it lies below the table's location and in no folder of another table (catalog.Place); it is Parquet, Avro or table
// metadata by its name; it is older than Config.Older by the store's clock; and no snapshot that the table retains, on whatever ref,
// names it in a manifest list, manifest, entry (also of deleted files) or statistics, nor the table its metadata. The table is loaded after
// its files were listed, so what was committed in between counts.
//
// Names are compared without their folders: files are named at random, and one that is called s3:// here and s3a:// there must not look
// like an orphan. A file whose name cannot be told apart from one that is referred to stays.
//
// Two kinds of references are not seen: those of tables in other catalogs, and those of tables elsewhere that were made of this one's files, as
// Spark's snapshot procedure makes them.
//
// Memory: the listing of the fullest folder, and some 100 bytes for each of Config.Batch candidates.
package sweep

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
	"time"

	icebergio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"github.com/firn-io/firn/catalog"
)

const (
	// Least is the youngest that a swept file may be: engines that write for days before they commit are rare.
	Least = 72 * time.Hour
	// WhileWaiting is how young a file may be at least where groups of files wait for a commit, whatever a person has asked for. Files are
	// committed within 12 hours after they were staged, or never.
	WhileWaiting = 24 * time.Hour
)

// Config says what is swept.
type Config struct {
	Catalog *catalog.Catalog
	Table   string        // namespace.table
	Older   time.Duration // than this files must be; Least if 0
	Young   bool          // Older may be less than Least: files that somebody is about to commit may go
	Waiting bool          // groups of files wait for a commit of the job
	DryRun  bool          // delete nothing
	Batch   int           // candidates that are held against the table at a time; 200,000 if 0
	Now     func() time.Time
	Logger  *slog.Logger // told of every file that is deleted, at debug level; nil: silent
}

// Kind is what a file is.
type Kind string

// The kinds of files that are swept.
const (
	Data     Kind = "data"     // Parquet, delete files included
	Manifest Kind = "manifest" // manifests and their lists
	Metadata Kind = "metadata" // of the table
)

// Sum is a number of files and their bytes.
type Sum struct {
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
}

func (s *Sum) add(bytes int64) { s.Files, s.Bytes = s.Files+1, s.Bytes+bytes }

// Report is what was found below a table's location.
type Report struct {
	Table    string       `json:"table"`
	Location string       `json:"location"`
	Before   time.Time    `json:"before"` // files that were last changed after that stay
	DryRun   bool         `json:"dry_run"`
	Listed   Sum          `json:"listed"`
	Young    Sum          `json:"young"`             // too young to be looked at
	Other    Sum          `json:"other"`             // of kinds that are never swept
	Kept     Sum          `json:"kept"`              // old, and referred to
	Swept    map[Kind]Sum `json:"swept"`             // deleted, or in a dry run to be
	Skipped  []string     `json:"skipped,omitempty"` // folders of other tables
	Failed   int64        `json:"failed"`            // could not be deleted
}

// ErrShared says that the table's files lie among another table's, where nobody can tell whose is whose.
var ErrShared = errors.New("the table's location is also another's")

// Table sweeps one table. catalog.ErrNoTable if it does not exist. An error may come beside a report of what was done before it.
func Table(ctx context.Context, cfg Config) (*Report, error) {
	if cfg.Older == 0 {
		cfg.Older = Least
	}
	if cfg.Older < Least && !cfg.Young {
		return nil, fmt.Errorf("files younger than %s are not swept: somebody may be about to commit them", Least)
	}
	if cfg.Waiting {
		cfg.Older = max(cfg.Older, WhileWaiting)
	}
	if cfg.Batch == 0 {
		cfg.Batch = 200_000
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &sweeper{Config: cfg, report: &Report{Table: cfg.Table, DryRun: cfg.DryRun, Swept: map[Kind]Sum{}}}
	if err := s.run(ctx); err != nil {
		return s.report, fmt.Errorf("sweep table %s: %w", cfg.Table, err)
	}
	return s.report, nil
}

type sweeper struct {
	Config
	root    string   // the table's location without a scheme
	others  []string // folders of other tables below it, likewise
	fs      icebergio.ListableIO
	pending map[string][]candidate // by base name
	held    int
	report  *Report
}

// candidate is an old file.
type candidate struct {
	path  string
	kind  Kind
	bytes int64
}

func (s *sweeper) run(ctx context.Context) error {
	t, err := s.load(ctx)
	if err != nil {
		return err
	}
	s.report.Location, s.root = t.Location(), catalog.Path(t.Location())
	if err := s.neighbours(ctx); err != nil {
		return err
	}
	files, err := t.FS(ctx)
	if err != nil {
		return fmt.Errorf("files: %w", err)
	}
	var ok bool
	if s.fs, ok = files.(icebergio.ListableIO); !ok {
		return fmt.Errorf("files at %s cannot be listed", t.Location())
	}
	now, err := s.clock(t)
	if err != nil {
		return err
	}
	s.report.Before = now.Add(-s.Older).UTC()
	s.pending = map[string][]candidate{}
	err = s.fs.WalkDir(strings.TrimRight(t.Location(), "/"), func(name string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && errors.Is(err, fs.ErrNotExist):
			return nil // somebody else has deleted it in between
		case err != nil:
			return err
		}
		return s.see(ctx, name, d)
	})
	if err != nil {
		return err
	}
	return s.settle(ctx)
}

func (s *sweeper) load(ctx context.Context) (*table.Table, error) {
	_, t, err := s.Catalog.Account(ctx, s.Table, nil)
	return t, err
}

// neighbours finds the folders of other tables below this one's location.
func (s *sweeper) neighbours(ctx context.Context) error {
	for p, err := range s.Catalog.Places(ctx) {
		if err != nil {
			return fmt.Errorf("where other tables are: %w", err)
		}
		if p.Table == s.Table {
			continue
		}
		for _, folder := range p.Folders {
			other := catalog.Path(folder)
			switch {
			case catalog.Below(s.root, other):
				return fmt.Errorf("%w: %s has %s", ErrShared, p.Table, folder)
			case catalog.Below(other, s.root) && !slices.Contains(s.others, other):
				s.others = append(s.others, other)
				s.report.Skipped = append(s.report.Skipped, folder)
			}
		}
	}
	return nil
}

// clockFolder begins the name of the folder in which a file tells the time. One that a killed sweep has left is swept by the next.
const clockFolder = "/firn-clock-"

// clock is the store's time, told by a file that is written and removed; of a dry run, which writes nothing, this machine's.
func (s *sweeper) clock(t *table.Table) (time.Time, error) {
	w, ok := s.fs.(icebergio.WriteFileIO)
	if s.DryRun || !ok {
		return s.Now(), nil
	}
	folder := strings.TrimRight(t.Location(), "/") + "/metadata" + clockFolder + uuid.NewString()
	name := folder + "/now"
	if err := w.WriteFile(name, []byte("firn sweep asks for the time")); err != nil {
		return time.Time{}, fmt.Errorf("ask the store for the time: %w", err)
	}
	var now time.Time
	err := s.fs.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			now = info.ModTime()
		}
		return err
	})
	if err := errors.Join(err, w.Remove(name)); err != nil {
		return time.Time{}, fmt.Errorf("ask the store for the time: %w", err)
	}
	if local, ok := strings.CutPrefix(folder, "file://"); ok {
		folder = local
	}
	if !strings.Contains(folder, "://") {
		_ = w.Remove(folder) // an empty folder; object stores have none
	}
	if now.IsZero() {
		return time.Time{}, errors.New("ask the store for the time: the file that was written is not listed")
	}
	return now, nil
}

// see takes note of a file.
func (s *sweeper) see(ctx context.Context, name string, d fs.DirEntry) error {
	at := catalog.Path(name)
	for _, other := range s.others {
		if catalog.Below(at, other) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
	}
	if d.IsDir() || !catalog.Below(at, s.root) {
		return nil
	}
	info, err := d.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.report.Listed.add(info.Size())
	kind := kindOf(at)
	switch {
	case kind == "":
		s.report.Other.add(info.Size())
		return nil
	case info.ModTime().IsZero() || !info.ModTime().Before(s.report.Before): // of what has no time nobody knows that it is old
		s.report.Young.add(info.Size())
		return nil
	}
	base := path.Base(at)
	s.pending[base] = append(s.pending[base], candidate{name, kind, info.Size()})
	if s.held++; s.held < s.Batch {
		return nil
	}
	return s.settle(ctx)
}

// kindOf tells a file's kind by its name; "" if it is none of those that are swept.
func kindOf(name string) Kind {
	switch {
	case strings.HasSuffix(name, ".parquet"):
		return Data
	case strings.HasSuffix(name, ".avro"):
		return Manifest
	case strings.Contains(name, "/metadata"+clockFolder), strings.HasSuffix(name, ".metadata.json"), strings.HasSuffix(name, ".metadata.json.gz"), strings.HasSuffix(name, ".gz.metadata.json"):
		return Metadata
	}
	return ""
}

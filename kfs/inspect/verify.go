package inspect

import (
	"context"
	"errors"
	"fmt"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// Finding is one thing that is wrong.
type Finding struct {
	Key    string `json:"key"`            // of the object, or of the place where one is missing
	Offset int64  `json:"byte,omitempty"` // where in the object, in bytes; 0 if it concerns the whole
	What   string `json:"what"`           // names topic, partition and offsets where they are known
}

// String is the finding in one line.
func (f Finding) String() string {
	if f.Offset > 0 {
		return fmt.Sprintf("%s: byte %d: %s", f.Key, f.Offset, f.What)
	}
	return f.Key + ": " + f.What
}

// Summary counts what was verified.
type Summary struct {
	Journals    int   `json:"journals"`
	Objects     int   `json:"objects"`
	Checkpoints int   `json:"checkpoints"`
	Pages       int   `json:"pages"`
	Segments    int   `json:"segments"` // settled
	Unlisted    int   `json:"unlisted"` // segments that no journal lists, or not any more: they were not verified
	Batches     int64 `json:"batches"`
	Records     int64 `json:"records"`
	Bytes       int64 `json:"bytes"`
	Findings    int   `json:"findings"`
}

// Verifier verifies a namespace or single objects. It is used once, by one goroutine.
type Verifier struct {
	Store    blob.Store
	Report   func(Finding) // called for each finding, in order
	Progress func(Summary) // called after each object; nil if nobody looks

	summary    Summary
	listings   map[string]listing       // by key
	partitions map[kfs.PartitionID]bool // that journals have
}

// Namespace walks every journal that is there, from its first object to its end, and every settled segment. It reads all bytes once.
// Checked are: all checksums, down to those of the record batches; the chain; owner epochs; sequences and offsets without holes; what
// manifests say of their batches; checkpoints and index pages against what was walked; settled segments that a journal lists, against
// what it says of them, and their indexes. The error
// is one of the store: then not everything was verified. Damage is no error but a finding.
func (v *Verifier) Namespace(ctx context.Context) (Summary, error) {
	for journal, err := range Journals(ctx, v.Store) {
		if err == nil {
			v.summary.Journals++
			err = v.journal(ctx, journal)
		}
		if err != nil {
			return v.summary, err
		}
	}
	return v.summary, v.segments(ctx)
}

// Object verifies a single object by itself.
func (v *Verifier) Object(ctx context.Context, key string) (Summary, error) {
	body, info, err := blob.ReadAll(ctx, v.Store, key, blob.All, maxObject)
	if err != nil {
		return v.summary, err
	}
	if version, err := kfs.Version(body); err == nil {
		if version == 1 {
			v.segment(file{info, body})
		} else {
			v.object(file{info, body})
		}
		return v.summary, nil
	}
	d, err := Describe(ctx, v.Store, key)
	switch {
	case damage(err):
		v.find(key, 0, "%w", err)
	case err != nil:
		return v.summary, err
	case d.Checkpoint != nil:
		v.summary.Checkpoints++
	case d.Page != nil:
		v.summary.Pages++
	}
	v.done(int64(len(body)))
	return v.summary, nil
}

// damage reports whether err says that an object is damaged, or that it needs a newer reader.
func damage(err error) bool { return errors.Is(err, kfs.ErrCorrupt) || errors.Is(err, kfs.ErrVersion) }

func (v *Verifier) find(key string, offset int64, format string, args ...any) {
	v.summary.Findings++
	v.Report(Finding{Key: key, Offset: offset, What: fmt.Errorf(format, args...).Error()})
}

// done counts an object that was looked at.
func (v *Verifier) done(size int64) {
	v.summary.Bytes += size
	if v.Progress != nil {
		v.Progress(v.summary)
	}
}

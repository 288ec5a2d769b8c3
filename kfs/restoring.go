package kfs

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Restoring says that a namespace is being filled from a restore point and is not to be read or written by anybody else. It is put, as JSON, at
// RestoringKey before anything else is there, and overwritten with Ended set when everything is. It stays: while the key is taken, a first put
// that was long on its way cannot mark again what is in use. It says what the namespace will be, so that whoever goes on with a restore that has
// ended early comes to the same.
type Restoring struct {
	Version  int       `json:"version"` // RestoringVersion
	Snapshot string    `json:"snapshot"`
	ID       TopicID   `json:"id"`      // of the restore point
	Source   ClusterID `json:"source"`  // the cluster that the restore point is of
	Cluster  ClusterID `json:"cluster"` // what the namespace becomes
	Lineage  TopicID   `json:"lineage"`
	Began    int64     `json:"began"`           // Unix milliseconds of the writer's clock
	Ended    bool      `json:"ended,omitempty"` // everything is there: the namespace is one like others
}

// RestoringVersion is the version of Restoring that is written and read.
const RestoringVersion = 1

// MaxRestoringBytes bounds the object of a restore that is under way, in bytes.
const MaxRestoringBytes = 64 << 10

// DecodeRestoring reads the object of a restore that is under way. Errors are ErrVersion and ErrCorrupt, also for fields that version 1 does
// not have.
func DecodeRestoring(body []byte) (*Restoring, error) {
	var r Restoring
	if err := decodeJSON(body, "restore under way", MaxRestoringBytes, RestoringVersion, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// EncodeRestoring is the object of a restore that is under way; the same Validate runs as when it is read.
func EncodeRestoring(r *Restoring) ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, fmt.Errorf("restore under way: %w", err)
	}
	return json.Marshal(r)
}

// Validate checks the restore by itself.
func (r *Restoring) Validate() error {
	if r.Version != RestoringVersion {
		return fmt.Errorf("version %d is not %d", r.Version, RestoringVersion)
	}
	if err := ValidateSnapshotName(r.Snapshot); err != nil {
		return err
	}
	switch {
	case r.ID.IsZero() || r.Source.IsZero() || r.Cluster.IsZero() || r.Lineage.IsZero() || r.Began <= 0:
		return fmt.Errorf("restore point %s of cluster %s, to cluster %s with lineage %s, began at %d", r.ID, r.Source, r.Cluster, r.Lineage, r.Began)
	case r.Cluster == r.Source:
		return errors.New("the cluster would be the one that the restore point is of")
	}
	return nil
}

// Identify makes the state of a journal at the restore point one of the cluster that the namespace becomes: where it carries the cluster
// entry, in journal 0, that gets the new id and lineage. Nothing else differs.
func (r *Restoring) Identify(c *Checkpoint) {
	for i, entry := range c.Metadata {
		if e, ok := entry.(Cluster); ok {
			e.ID, e.Lineage = r.Cluster, r.Lineage
			c.Metadata[i] = e
		}
	}
}

package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// Description is what one object holds. Exactly one of the pointers is set.
type Description struct {
	Key        string
	Bytes      int64
	CRC        uint32             // Object CRC of a journal object; the checksum in the footer of the others; none for an index
	Object     *kfs.Manifest      // a journal object; only its end was read
	Checkpoint *kfs.Checkpoint    // a checkpoint
	Page       *kfs.Page          // an index page
	Segment    *kfs.SettledHeader // a settled segment, wholly checked
	Index      *kfs.Index         // of a settled segment
}

// Describe reads one object, whatever its key: its first bytes say what it is.
func Describe(ctx context.Context, store blob.Store, key string) (*Description, error) {
	d := &Description{Key: key}
	head, info, err := blob.ReadAll(ctx, store, key, blob.Bytes(0, kfs.HeaderSize), maxObject)
	if errors.Is(err, blob.ErrRange) {
		return nil, fmt.Errorf("%s: %w: it is empty", key, kfs.ErrCorrupt)
	}
	if err != nil {
		return nil, err
	}
	d.Bytes = info.Size
	if err := d.read(ctx, store, head, info); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return d, nil
}

func (d *Description) read(ctx context.Context, store blob.Store, head []byte, info blob.Info) error {
	if version, err := kfs.Version(head); err == nil && version == 2 {
		tail, _, err := blob.ReadAll(ctx, store, d.Key, blob.Last(kfs.TailSize), maxObject)
		if err != nil {
			return err
		}
		d.Object, d.CRC, err = manifest(ctx, store, file{blob.Info{Key: d.Key, Size: info.Size}, tail})
		if err != nil {
			return err
		}
		return sameObject(d.Key, d.Object)
	}
	body, _, err := blob.ReadAll(ctx, store, d.Key, blob.All, maxObject)
	if err != nil {
		return err
	}
	switch {
	case bytes.HasPrefix(body, []byte("KAFS")):
		h, err := kfs.OpenSegment(body)
		d.Segment, d.CRC = &h, h.CRC
		return err
	case bytes.HasPrefix(body, []byte("IDX\x00")):
		d.Index, err = kfs.DecodeIndex(body)
		return err
	case bytes.HasPrefix(body, []byte("KAFM")):
		return d.readMeta(body)
	}
	return fmt.Errorf("%w: %q is the beginning of no object of this format", kfs.ErrCorrupt, head[:min(4, len(head))])
}

// readMeta reads a checkpoint or an index page.
func (d *Description) readMeta(body []byte) (err error) {
	d.CRC = kfs.MetaChecksum(body)
	if len(body) > 7 && body[7] == 2 {
		if d.Page, err = kfs.DecodePage(body); err != nil {
			return err
		}
		return samePage(d.Key, d.Page)
	}
	if d.Checkpoint, err = kfs.DecodeCheckpoint(body); err != nil {
		return err
	}
	return sameCheckpoint(d.Key, d.Checkpoint)
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// backfillClaim is what a backfill brings in that has begun and not ended, in the source's store: others are refused what it has claimed
// before they have done any work. No row rests on it. That no offset comes twice, the commit protocol sees to, claimed or not.
type backfillClaim struct {
	Version int            `json:"version"` // claimVersion
	Spans   []backfillSpan `json:"spans"`
}

const (
	claimVersion  = 1
	maxClaimBytes = 64 << 20
)

// backfillClaims is what other backfills of a job have claimed, by their ids.
type backfillClaims map[string][]backfillSpan

// claims reads what other backfills of the job have claimed.
func (b *backfill) claims(ctx context.Context) (backfillClaims, error) {
	all := backfillClaims{}
	prefix := kfs.BackfillsPrefix(b.tables.job.Name)
	for page, err := range b.tables.store.List(ctx, prefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list what other backfills bring in: %w", err)
		}
		for _, o := range page.Objects {
			id, ok := strings.CutSuffix(strings.TrimPrefix(o.Key, prefix), ".json")
			if !ok || id == b.id {
				continue
			}
			c, err := readClaim(ctx, b.tables.store, o.Key)
			if errors.Is(err, blob.ErrNotFound) {
				continue // it has just ended
			}
			if err != nil {
				return nil, fmt.Errorf("%s, which says what backfill %s brings in: %w; give that one up by --id %s --abandon if it is not at work", o.Key, id, err, id)
			}
			all[id] = c.Spans
		}
	}
	return all, nil
}

func readClaim(ctx context.Context, store blob.Store, key string) (c backfillClaim, err error) {
	body, _, err := blob.ReadAll(ctx, store, key, blob.All, maxClaimBytes)
	if err == nil {
		err = json.Unmarshal(body, &c)
	}
	if err == nil && c.Version != claimVersion {
		err = fmt.Errorf("version %d, this program knows %d", c.Version, claimVersion)
	}
	return c, err
}

// apart refuses a span that another backfill has claimed a part of.
func (c backfillClaims) apart(s backfillSpan) error {
	own := kfs.Span{Base: s.From, Next: s.Until}
	for _, id := range slices.Sorted(maps.Keys(c)) {
		for _, o := range c[id] {
			theirs := kfs.Span{Base: o.From, Next: o.Until}
			if o.Table == s.Table && o.ID == s.ID && o.Partition == s.Partition && theirs.Overlaps(own) {
				return fmt.Errorf("backfill %[1]s brings in %[2]s, and has not ended: wait for it; or, if it was killed, go on with it, by --id %[1]s and its own --from and --until, or give it up, by --id %[1]s --abandon",
					id, theirs)
			}
		}
	}
	return nil
}

// claim says what this backfill brings in. Who has claimed looks again: of two that begin at the same moment not both go on.
func (b *backfill) claim(ctx context.Context) error {
	key := kfs.BackfillKey(b.tables.job.Name, b.id)
	body, err := json.Marshal(backfillClaim{Version: claimVersion, Spans: b.spans})
	if err == nil {
		_, err = b.tables.store.Put(ctx, key, body, false)
	}
	if err != nil {
		return fmt.Errorf("claim what backfill %s brings in: %w", b.id, err)
	}
	others, err := b.claims(ctx)
	if err != nil {
		return err
	}
	var refused []error
	for _, s := range b.spans {
		if err := others.apart(s); err != nil {
			refused = append(refused, fmt.Errorf("%s/%d: %w", s.Topic, s.Partition, err))
		}
	}
	if len(refused) == 0 {
		return nil
	}
	return errors.Join(append(refused, b.tables.remove(ctx, key))...)
}

// release takes away what the backfill has claimed, and what it holds against retention.
func (b *backfill) release(ctx context.Context) error {
	return errors.Join(b.tables.remove(ctx, kfs.BackfillKey(b.tables.job.Name, b.id)), b.tables.release(ctx, b.name()))
}

// giveUp releases a backfill that was begun. What it has brought in stays. Should it still be at work, it halts where another one has been.
func (b *backfill) giveUp(ctx context.Context, out io.Writer) error {
	name := b.tables.job.Name
	_, err := readClaim(ctx, b.tables.store, kfs.BackfillKey(name, b.id))
	if errors.Is(err, blob.ErrNotFound) {
		_, _, err = blob.ReadAll(ctx, b.tables.store, kfs.JobKey(b.name()), blob.All, kfs.MaxJobBytes)
	}
	if errors.Is(err, blob.ErrNotFound) {
		return fmt.Errorf("job %s has no backfill %s that has begun and not ended", name, b.id)
	}
	if err := b.release(ctx); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "backfill %s of job %s is given up; what it has brought in stays\n", b.id, name)
	return err
}

package iceberg

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/iceberg-go/table"
)

// place is where a row comes from, as rows say it.
type place struct {
	topic     string
	partition int32
}

// highs reads the greatest offset per source from the table's rows. It is needed only where expiry has taken the receipts, so it
// reads the three coordinate columns and looks for no shortcut. Rows say topic and partition, not the topic's id: they count for the
// incarnation that the job knows, and the table holds one only (see recreated).
func (s *Sink) highs(ctx context.Context, t *table.Table, sources []string) (map[string]int64, error) {
	columns := []string{s.cfg.Prefix + "topic", s.cfg.Prefix + "partition", s.cfg.Prefix + "offset"}
	byPartition := map[place]*int64{}
	for rec, err := range Rows(ctx, t, nil, columns...) {
		var c *coordinates
		if err == nil {
			c, err = coordinatesOf(rec, s.cfg.Prefix)
		}
		if err != nil {
			return nil, fmt.Errorf("read %v: %w", columns, err)
		}
		for i := range int(rec.NumRows()) {
			if c.topics.IsNull(i) || c.partitions.IsNull(i) || c.offsets.IsNull(i) {
				continue // somebody else's
			}
			at, offset := place{c.topics.Value(i), c.partitions.Value(i)}, c.offsets.Value(i)
			high, ok := byPartition[at]
			if !ok {
				at.topic = strings.Clone(at.topic) // the record's memory goes
				first := offset
				byPartition[at] = &first
			} else if offset > *high {
				*high = offset
			}
		}
	}
	out := map[string]int64{}
	for _, key := range sources {
		source, err := ParseSource(key)
		if err != nil {
			return nil, err
		}
		if high, ok := byPartition[place{source.Topic, source.Partition}]; ok {
			out[key] = *high
		}
	}
	return out, nil
}

package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
)

// pausedProperty asks those who commit to a table to wait; its value is a Pause.
const pausedProperty = "firn.paused"

// MaxPause is the longest that a pause is obeyed, by the clock of the one who obeys it.
const MaxPause = time.Minute

// Pause is a while in which no commit to a table is begun: one who follows the table gets to where it stands. It is a favour that jobs do
// and nothing is safe because of it: one that has begun a commit sends it all the same, and so does one who does not know of
// pauses or whose clock is wrong. Whoever has asked for a pause must pin what it does to the head that it has seen, as ever.
type Pause struct {
	By    string `json:"by"`       // who asked for it
	Since int64  `json:"since_ms"` // Unix milliseconds, by the clock of that one
	Until int64  `json:"until_ms"` // likewise; then it is over, whatever has become of that one
}

// pauseOf is the pause that a table's properties ask for; nil if there is none, or what is there is not readable.
func pauseOf(props iceberg.Properties) *Pause {
	p := &Pause{}
	if err := json.Unmarshal([]byte(props[pausedProperty]), p); err != nil {
		return nil
	}
	return p
}

// At reports whether the pause is to be obeyed. One that claims to last longer than pauses do comes of another clock, or of another program.
func (p *Pause) At(now time.Time) bool {
	left := time.UnixMilli(p.Until).Sub(now)
	return left > 0 && left <= MaxPause
}

// String tells of the pause to people.
func (p *Pause) String() string {
	clock := func(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }
	return fmt.Sprintf("by %s since %s, until %s at the latest", p.By, clock(p.Since), clock(p.Until))
}

// Pause asks for a pause of a table, in place of another one.
func (c *Catalog) Pause(ctx context.Context, name string, p Pause, opts Options) error {
	value, err := json.Marshal(p)
	if err != nil {
		return err
	}
	err = c.change(ctx, name, opts, func(t *table.Table) (*request, error) {
		if t.Properties()[pausedProperty] == string(value) {
			return nil, nil
		}
		return &request{
			requirements: []table.Requirement{table.AssertTableUUID(t.Metadata().TableUUID())},
			updates:      []table.Update{table.NewSetPropertiesUpdate(iceberg.Properties{pausedProperty: string(value)})},
		}, nil
	})
	if err != nil {
		return fmt.Errorf("pause table %s: %w", name, err)
	}
	return nil
}

// Resume ends the pause of a table, whoever has asked for it.
func (c *Catalog) Resume(ctx context.Context, name string, opts Options) error {
	if err := c.drop(ctx, name, pausedProperty, nil, opts); err != nil {
		return fmt.Errorf("resume table %s: %w", name, err)
	}
	return nil
}

// drop removes a property of a table if its value is one that is meant; nil means any. One that is not there is as good.
func (c *Catalog) drop(ctx context.Context, name, property string, meant func(value string) bool, opts Options) error {
	return c.change(ctx, name, opts, func(t *table.Table) (*request, error) {
		if value, there := t.Properties()[property]; !there || meant != nil && !meant(value) {
			return nil, nil
		}
		return &request{
			requirements: []table.Requirement{table.AssertTableUUID(t.Metadata().TableUUID())},
			updates:      []table.Update{table.NewRemovePropertiesUpdate([]string{property})},
		}, nil
	})
}

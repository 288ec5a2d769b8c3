package catalog

import (
	"testing"
	"time"

	"github.com/apache/iceberg-go"
)

func TestUpkeepOfTable(t *testing.T) {
	defaults := Upkeep{}.withDefaults()
	for _, c := range []struct {
		keep, age string
		want      Upkeep
	}{
		{"", "", Upkeep{Manifests: 100, Snapshots: 500, Age: 15 * time.Minute}},
		{"50", "3600000", Upkeep{Manifests: 100, Snapshots: 50, Age: time.Hour}},
		{"0", "-1", defaults},
		{"many", "long", defaults},
		{"1", "9223372036854775807", Upkeep{Manifests: 100, Snapshots: 1, Age: 9223372036854 * time.Millisecond}},
	} {
		props := iceberg.Properties{}
		if c.keep != "" {
			props["history.expire.min-snapshots-to-keep"] = c.keep
		}
		if c.age != "" {
			props["history.expire.max-snapshot-age-ms"] = c.age
		}
		if got := defaults.of(props); got != c.want {
			t.Errorf("keep %q, age %q: %+v, want %+v", c.keep, c.age, got, c.want)
		}
	}
}

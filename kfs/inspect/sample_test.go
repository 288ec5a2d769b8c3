package inspect

import (
	"testing"

	"github.com/firn-io/firn/kfs"
)

// TestReadsOfSmallSegments: where segments are small, a sample is of more of them, not of fewer bytes and partitions.
func TestReadsOfSmallSegments(t *testing.T) {
	var of []Partition
	there := map[kfs.PartitionID][]stored{}
	for i := range int32(200) {
		id := kfs.PartitionID{Topic: kfs.TopicID{1}, Partition: i}
		of = append(of, Partition{PartitionID: id})
		there[id] = nil
	}
	for _, c := range []struct {
		length, bytes int64
		each, want    int
	}{
		{4 << 10, 32 << 20, 100, sampleReads},
		{128 << 10, 32 << 20, 100, 256},
		{8 << 20, 32 << 20, 100, 128},
		{8 << 20, 1 << 30, 100, 4096},
		{4 << 10, 1, 1, 1},
		{0, 32 << 20, 0, 128},
	} {
		for id := range there {
			there[id] = nil
			for range c.each {
				there[id] = append(there[id], stored{length: c.length})
			}
		}
		if got := readsOf(c.bytes, of, there); got != c.want {
			t.Errorf("%d bytes of segments of %d: %d reads, want %d", c.bytes, c.length, got, c.want)
		}
	}
}

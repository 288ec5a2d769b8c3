package inspect

import (
	"testing"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
)

// FuzzObject looks at any bytes under the key of a journal object: nothing panics, and what verifies can be printed.
func FuzzObject(f *testing.F) {
	n := sample(f)
	for _, key := range []string{kfs.ObjectKey(0, 1), kfs.CheckpointKey(0, 3), kfs.PageKey(0, 0, 2), kfs.SegmentKey(topicID(9), "old", 3, 60), kfs.IndexKey(topicID(9), "old", 3, 60)} {
		f.Add(n.get(key))
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		n := newNamespace(t)
		key := kfs.ObjectKey(0, 1)
		n.put(key, object)
		look(t, n, key)
	})
}

// FuzzBatches seals any bytes as the records of a segment, so that what is behind the checksums is reached.
func FuzzBatches(f *testing.F) {
	n := newNamespace(f)
	for codec := record.None; codec <= record.Zstd; codec++ {
		f.Add(n.batch(codec, "events", 0, 0, 3))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		n := newNamespace(t)
		m := &kfs.Manifest{Writer: kfs.WriterID{1}, Segments: []kfs.Segment{{Topic: topicID(1), Name: "events", Span: kfs.Span{Next: 3}, Records: 3, MaxTimestamp: 1_700_000_000_002}}}
		object, _, err := kfs.Seal(m, [][]byte{body})
		if err != nil {
			return
		}
		key := kfs.ObjectKey(0, 0)
		n.put(key, object)
		look(t, n, key)
	})
}

func look(t *testing.T, n *namespace, key string) {
	t.Helper()
	for range Rows(t.Context(), n.store) { // any answer but a panic
	}
	_, describeErr := Describe(t.Context(), n.store, key)
	findings := 0
	v := Verifier{Store: n.store, Report: func(Finding) { findings++ }}
	if _, err := v.Object(t.Context(), key); err != nil && describeErr == nil {
		t.Errorf("verify: %v", err)
	}
	if _, err := values(TopicRecords(t.Context(), n.store, Selection{Partition: -1})); findings == 0 && describeErr != nil && err == nil {
		t.Errorf("verified and printed, but %v", describeErr)
	}
	verify(t, n.store)
}

package work

import (
	"maps"
	"testing"

	"github.com/firn-io/firn/kfs"
)

// FuzzDecodeWorker reads what may stand in a worker's key.
func FuzzDecodeWorker(f *testing.F) {
	value, err := encodeWorker("s", "host/1", put{edition: 7, claims: set{{Topic: kfs.TopicID{1}, Partition: 3}: true, {Topic: kfs.TopicID{1}, Partition: 4}: true}}, map[kfs.PartitionID]int64{{Topic: kfs.TopicID{1}, Partition: 3}: 12})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Add(`{"version":1,"claims":{"AQAAAAAAAAAAAAAAAAAAAA":"0-99999999999"}}`)
	f.Fuzz(func(t *testing.T, value string) {
		key, claimed, err := decodeWorker(value)
		if err != nil {
			return
		}
		again, err := encodeWorker(key.Session, key.Name, put{edition: key.Edition, claims: claimed}, key.done())
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if _, second, err := decodeWorker(again); err != nil || !maps.Equal(second, claimed) {
			t.Fatalf("%v became %v: %v", claimed, second, err)
		}
	})
}

// FuzzDecodeGroups reads what may stand in a worker's second key: whatever it is, keys of objects are made of the ids.
func FuzzDecodeGroups(f *testing.F) {
	value, err := encodeGroups(groupsKey{Handed: []handed{{ID: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Table: "a.b", Size: 1}}, Answers: []answer{{Worker: "w", ID: "i", Verdict: moved}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Add(`{"version":1,"handed":[{"id":"../../x","size":-1}]}`)
	f.Fuzz(func(t *testing.T, value string) {
		key, err := decodeGroups(value)
		if err != nil {
			return
		}
		for _, h := range key.Handed {
			if !validID(h.ID) || h.Size < 0 || h.Size > maxGroupBytes {
				t.Fatalf("a group %q of %d bytes was read", h.ID, h.Size)
			}
		}
		if _, err := encodeGroups(key); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
	})
}

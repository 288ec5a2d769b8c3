package broker

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// TestTrimsSayWhatTheyRestOn deletes records where journal 0 is here and where it is another broker's: each trim names a sequence of journal 0 at or
// behind which the topic is known.
func TestTrimsSayWhatTheyRestOn(t *testing.T) {
	t.Parallel()
	s := startSeveral(t, 3)
	ctx := within(t, 30*time.Second)
	client := s.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(ctx, 6, -1, nil, "events"); err != nil {
		t.Fatal(err)
	}
	for p := range int32(6) {
		if err := client.ProduceSync(ctx, &kgo.Record{Topic: "events", Partition: p, Value: []byte("a")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	offsets := kadm.Offsets{}
	for p := range int32(6) {
		offsets.Add(kadm.Offset{Topic: "events", Partition: p, At: 1, LeaderEpoch: -1})
	}
	deleted, err := admin.DeleteRecords(ctx, offsets)
	if err == nil {
		err = deleted.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	created, trims := uint64(0), map[int32]uint64{}
	for m := range objects(t, s.store) {
		for _, e := range m.Entries {
			switch e := e.(type) {
			case kfs.Topic:
				created = max(created, m.Sequence)
			case kfs.Trim:
				trims[e.Partition] = e.Metadata
			}
		}
	}
	if created == 0 || len(trims) != 6 {
		t.Fatalf("the topic was created by object %d of journal 0, trims are %v", created, trims)
	}
	for p, rests := range trims {
		if rests < created {
			t.Errorf("the trim of partition %d rests on object %d of journal 0, the topic was created by %d", p, rests, created)
		}
	}
}

// objects are the manifests of all journals.
func objects(t *testing.T, store blob.Store) func(yield func(*kfs.Manifest) bool) {
	return func(yield func(*kfs.Manifest) bool) {
		for page, err := range store.List(t.Context(), kfs.JournalsPrefix, "") {
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range page.Objects {
				if _, _, ok := kfs.ParseObjectKey(o.Key); !ok {
					continue
				}
				body, _, err := blob.ReadAll(t.Context(), store, o.Key, blob.All, 1<<30)
				if err != nil {
					t.Fatal(err)
				}
				m, _, err := kfs.Open(body)
				if err != nil {
					t.Fatal(err)
				}
				if !yield(m) {
					return
				}
			}
		}
	}
}

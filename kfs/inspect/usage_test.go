package inspect

import (
	"testing"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// TestUse holds what Use finds in a namespace against its listing: every byte is somewhere, once.
func TestUse(t *testing.T) {
	n := sample(t)
	n.put(kfs.SnapshotsPrefix+"before.json", []byte("{}"))
	n.put(kfs.JobKey("broken"), []byte("{"))
	done := &kfs.Job{Version: kfs.JobVersion, Name: "done", Topics: []string{"events"}, Tables: []kfs.JobTable{{Table: "t", Sources: []kfs.JobSource{
		{Topic: "events", ID: topicID(1), Partition: 0, Hold: 9}, {Topic: "events", ID: topicID(1), Partition: 1, Hold: 201}, {Topic: "events", ID: topicID(1), Partition: 5, Hold: 11},
	}}}}
	body, err := kfs.EncodeJob(done)
	if err != nil {
		t.Fatal(err)
	}
	n.put(kfs.JobKey("done"), body)
	u, err := Use(t.Context(), n.store)
	if err != nil {
		t.Fatal(err)
	}
	var objects, bytes int64
	for page, err := range n.store.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Objects {
			objects++
			bytes += o.Size
		}
	}
	sum := u.Other
	plus := func(a Amount) { sum.Objects += a.Objects; sum.Bytes += a.Bytes }
	var journal int64
	for _, j := range u.Journals {
		plus(j.Live)
		plus(j.Released)
		plus(j.Meta)
	}
	for _, p := range u.Partitions {
		plus(p.Segments)
		plus(p.Waiting)
		journal += p.Journal
	}
	if u.Objects != objects || u.Bytes != bytes || sum.Objects != objects || sum.Bytes != bytes {
		t.Errorf("%d objects with %d bytes, told %d with %d, counted %+v", objects, bytes, u.Objects, u.Bytes, sum)
	}
	if len(u.Journals) != 2 || len(u.Partitions) != 5 || len(u.Snapshots) != 1 || len(u.Jobs) != 2 {
		t.Fatalf("%+v", u)
	}
	if last := u.Partitions[3]; last.Topic != "old" || last.Waiting.Objects != 4 || last.Segments.Objects != 0 {
		t.Errorf("segments that nobody lists: %+v", last)
	}
	if first := u.Partitions[0]; first.Topic != "events" || first.Next != 9 || first.Journal == 0 {
		t.Errorf("events/0: %+v", first)
	}
	if b, d := u.Jobs[0], u.Jobs[1]; b.Err == "" || b.Bytes != journal || d.Err != "" || d.Bytes != 0 {
		t.Errorf("jobs %+v, %d bytes in journals, %+v", u.Jobs, journal, u.Partitions)
	}
	// A restore point that cannot be read keeps all that waits.
	var held Amount
	for _, j := range u.Journals {
		if j.Held != j.Released {
			t.Errorf("journal %d: released %+v, held %+v", j.Journal, j.Released, j.Held)
		}
		held.Objects, held.Bytes = held.Objects+j.Held.Objects, held.Bytes+j.Held.Bytes
	}
	for _, p := range u.Partitions {
		if p.Held != p.Waiting {
			t.Errorf("%s/%d: waiting %+v, held %+v", p.Topic, p.Partition, p.Waiting, p.Held)
		}
		held.Objects, held.Bytes = held.Objects+p.Held.Objects, held.Bytes+p.Held.Bytes
	}
	if s := u.Snapshots[0]; s.Name != "before" || s.Err == "" || s.Held != held || held.Objects == 0 {
		t.Errorf("restore point %+v, all that waits is %+v", s, held)
	}
	if u.Requests.Lists != 1 || u.Requests.Gets != 8 {
		t.Errorf("requests %+v", u.Requests)
	}
	if _, err := Use(t.Context(), blob.NewMemory(nil)); err != nil {
		t.Errorf("of nothing: %v", err)
	}
}

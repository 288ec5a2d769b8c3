package inspect

import (
	"strings"
	"testing"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
)

func TestRows(t *testing.T) {
	n := sample(t)
	n.flip(kfs.ObjectKey(0, 3), -1)
	n.put("jobs/events.json", []byte("{}"))
	n.put("journal/0000/notes.txt", []byte("x"))
	rows := map[string]Row{}
	last := ""
	for row, err := range Rows(t.Context(), n.store) {
		if err != nil {
			t.Fatal(err)
		}
		if row.Key <= last {
			t.Errorf("%q comes after %q", row.Key, last)
		}
		last, rows[row.Key] = row.Key, row
	}
	if len(rows) != 17 {
		t.Errorf("%d rows, want 17", len(rows))
	}
	if r := rows[kfs.ObjectKey(0, 1)]; r.Kind != KindObject || *r.Journal != 0 || *r.Sequence != 1 || *r.Epoch != 1 || r.Partitions != 3 || r.Records != 207 || r.Created != 1_700_000_000_001 || r.Bytes == 0 {
		t.Errorf("object: %+v", r)
	}
	if r := rows[kfs.CheckpointKey(0, 3)]; r.Kind != KindCheckpoint || *r.Sequence != 3 || r.Partitions != 3 {
		t.Errorf("checkpoint: %+v", r)
	}
	if r := rows[kfs.PageKey(0, 0, 2)]; r.Kind != KindPage || *r.Sequence != 0 {
		t.Errorf("page: %+v", r)
	}
	if r := rows[kfs.SegmentKey(topicID(9), "old", 3, 60)]; r.Kind != KindSegment || r.Records != 60 {
		t.Errorf("segment: %+v", r)
	}
	if r := rows[kfs.ObjectKey(0, 3)]; !strings.Contains(r.Damage, "footer does not end") || r.Records != 0 {
		t.Errorf("damaged object: %+v", r)
	}
	for key, kind := range map[string]Kind{
		kfs.IndexKey(topicID(9), "old", 3, 60): KindIndex, kfs.HeadKey(0): KindHint, "jobs/events.json": KindJob, "journal/0000/notes.txt": KindOther,
	} {
		if r := rows[key]; r.Kind != kind || r.Damage != "" {
			t.Errorf("%s: %+v", key, r)
		}
	}
}

// TestLongManifest: a manifest that does not fit into the first read of an object's end.
func TestLongManifest(t *testing.T) {
	n := newNamespace(t)
	var m kfs.Manifest
	var bodies [][]byte
	for p := range int32(1200) {
		m.Segments = append(m.Segments, kfs.Segment{Topic: topicID(1), Name: "wide", Partition: p, Span: kfs.Span{Next: 1}, Records: 1, MaxTimestamp: 1_700_000_000_000})
		bodies = append(bodies, n.batch(record.None, "wide", p, 0, 1))
	}
	m.Writer = kfs.WriterID{1}
	n.write(n.journal(0), &m, bodies)
	for row, err := range Rows(t.Context(), n.store) {
		if err != nil || row.Partitions != 1200 || row.Damage != "" {
			t.Errorf("row %+v, %v", row, err)
		}
	}
	got, err := values(TopicRecords(t.Context(), n.store, Selection{Topic: "wide", Partition: 1199}))
	if err != nil || len(got) != 1 {
		t.Errorf("records %q, %v", got, err)
	}
	if _, findings := verify(t, n.store); findings != nil {
		t.Errorf("findings %q", findings)
	}
}

func TestDescribe(t *testing.T) {
	n := sample(t)
	for key, ok := range map[string]func(d *Description) bool{
		kfs.ObjectKey(0, 1):                      func(d *Description) bool { return len(d.Object.Segments) == 3 },
		kfs.CheckpointKey(0, 3):                  func(d *Description) bool { return d.Checkpoint.Sequence == 3 },
		kfs.PageKey(0, 0, 2):                     func(d *Description) bool { return len(d.Page.Objects) == 3 },
		kfs.SegmentKey(topicID(9), "old", 3, 60): func(d *Description) bool { return d.Segment.Span == kfs.Span{Base: 60, Next: 120} },
		kfs.IndexKey(topicID(9), "old", 3, 60):   func(d *Description) bool { return len(d.Index.Entries) == 1 },
	} {
		d, err := Describe(t.Context(), n.store, key)
		if err != nil || d.Bytes != int64(len(n.get(key))) || !ok(d) {
			t.Errorf("%s: %+v, %v", key, d, err)
		}
		n.put(key, n.get(key)[:20])
		if _, err := Describe(t.Context(), n.store, key); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s cut short: %v", key, err)
		}
	}
	for key, body := range map[string]string{"empty": "", "text": "hello, world, this is no object"} {
		n.put(key, []byte(body))
		if _, err := Describe(t.Context(), n.store, key); !damage(err) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

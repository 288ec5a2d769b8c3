package kfs

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// sampleState is a journal's state as restore points have it, and what one says of it.
func sampleState(t *testing.T) (*Checkpoint, []byte, SnapshotJournal) {
	t.Helper()
	c := sampleCheckpoint()
	c.Pages = nil
	c.Objects = c.Objects[:1]
	c.Objects[0].Sequence = c.Sequence
	c.Released = []Run{{First: 0, Last: c.Sequence - 1}}
	body, err := EncodeCheckpoint(c)
	if err != nil {
		t.Fatal(err)
	}
	return c, body, NewSnapshotJournal(c, body)
}

func sampleSnapshot() *Snapshot {
	return &Snapshot{Version: SnapshotVersion, Name: "before-v2", ID: TopicID{9}, Created: 1700000000000, Cluster: ClusterID{1}, Lineage: TopicID{2}, Topics: 3, Journals: []SnapshotJournal{
		{Journal: 0, Sequence: 7, ObjectCRC: 11, From: 5, Length: 300, CRC: 12, Partitions: 4, Records: 100, Bytes: 5000, Segments: 2, Settled: 70000},
		{Journal: 2, Sequence: 0, ObjectCRC: 13, From: 1, Length: 100, CRC: 14},
	}}
}

const sampleSnapshotText = `{"version":1,"snapshot":"before-v2","id":"CQAAAAAAAAAAAAAAAAAAAA","created":1700000000000,"cluster":"AQAAAAAAAAAAAAAAAAAAAA","lineage":"AgAAAAAAAAAAAAAAAAAAAA","topics":3,"journals":[` +
	`{"journal":0,"sequence":7,"object_crc":11,"from":5,"length":300,"crc":12,"partitions":4,"records":100,"bytes":5000,"segments":2,"settled_bytes":70000},` +
	`{"journal":2,"sequence":0,"object_crc":13,"from":1,"length":100,"crc":14,"partitions":0,"records":0,"bytes":0,"segments":0,"settled_bytes":0}]}`

func TestSnapshot(t *testing.T) {
	body, err := EncodeSnapshot(sampleSnapshot())
	if err != nil || string(body) != sampleSnapshotText {
		t.Errorf("encoded: %s (%v)", body, err)
	}
	got, err := DecodeSnapshot([]byte(sampleSnapshotText), "before-v2")
	if err != nil || !reflect.DeepEqual(got, sampleSnapshot()) {
		t.Errorf("decoded: %+v (%v)", got, err)
	}
	if j := got.Find(2); j == nil || j.CRC != 14 || got.Find(1) != nil {
		t.Errorf("found %+v", j)
	}
}

func TestSnapshotIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		old, new string
		want     error
	}{
		"newer":             {`"version":1`, `"version":2`, ErrVersion},
		"unknown field":     {`"topics":3`, `"topics":3,"until":4`, ErrCorrupt},
		"more behind":       {`"settled_bytes":0}]}`, `"settled_bytes":0}]}{}`, ErrCorrupt},
		"another name":      {`"before-v2"`, `"before-v3"`, ErrCorrupt},
		"evil name":         {`"before-v2"`, `"../v2"`, ErrCorrupt},
		"name of an object": {`"before-v2"`, `"v2.json"`, ErrCorrupt},
		"no id":             {`"id":"CQAA`, `"id":"AAAA`, ErrCorrupt},
		"no cluster":        {`"cluster":"AQAA`, `"cluster":"AAAA`, ErrCorrupt},
		"no lineage":        {`"lineage":"AgAA`, `"lineage":"AAAA`, ErrCorrupt},
		"no time":           {`1700000000000`, `0`, ErrCorrupt},
		"negative topics":   {`"topics":3`, `"topics":-3`, ErrCorrupt},
		"no journal 0":      {`{"journal":0,`, `{"journal":1,`, ErrCorrupt},
		"out of order":      {`{"journal":2,`, `{"journal":0,`, ErrCorrupt},
		"beyond all":        {`{"journal":2,`, `{"journal":10000,`, ErrCorrupt},
		"from behind":       {`"from":5`, `"from":9`, ErrCorrupt},
		"no state":          {`"length":300`, `"length":0`, ErrCorrupt},
		"negative":          {`"records":100`, `"records":-1`, ErrCorrupt},
		"a large crc":       {`"crc":12`, `"crc":4294967296`, ErrCorrupt},
	} {
		body := strings.Replace(sampleSnapshotText, c.old, c.new, 1)
		if got, err := DecodeSnapshot([]byte(body), "before-v2"); !errors.Is(err, c.want) || got != nil {
			t.Errorf("%s: %+v, %v, want %v", name, got, err, c.want)
		}
	}
	if _, err := DecodeSnapshot(make([]byte, MaxSnapshotBytes+1), "before-v2"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("too large: %v", err)
	}
	evil := sampleSnapshot()
	evil.Journals = nil
	if _, err := EncodeSnapshot(evil); err == nil {
		t.Error("a restore point of nothing is written")
	}
}

func TestSnapshotState(t *testing.T) {
	c, body, said := sampleState(t)
	if got, err := said.Open(body); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("opened: %+v, %v", got, err)
	}
	if said.From != c.Sequence || said.Bytes != c.Objects[0].Size {
		t.Errorf("it says %+v", said)
	}
	for name, change := range map[string]func(*Checkpoint, *SnapshotJournal){
		"another journal":  func(_ *Checkpoint, j *SnapshotJournal) { j.Journal++ },
		"another sequence": func(_ *Checkpoint, j *SnapshotJournal) { j.Sequence++ },
		"another chain":    func(_ *Checkpoint, j *SnapshotJournal) { j.ObjectCRC++ },
		"another from":     func(_ *Checkpoint, j *SnapshotJournal) { j.From-- },
		"other records":    func(_ *Checkpoint, j *SnapshotJournal) { j.Records++ },
		"a hole":           func(c *Checkpoint, _ *SnapshotJournal) { c.Objects[0].Sequence-- },
		"pages":            func(c *Checkpoint, _ *SnapshotJournal) { c.Pages = []PageRef{{First: 1, Last: 2, Length: 9}} },
	} {
		c, body, said := sampleState(t)
		change(c, &said)
		if again, err := EncodeCheckpoint(c); err != nil {
			t.Fatal(err)
		} else if !bytes.Equal(again, body) {
			body, said = again, NewSnapshotJournal(c, again)
		}
		if _, err := said.Open(body); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for at := range body {
		wrong := bytes.Clone(body)
		wrong[at] ^= 1
		if _, err := said.Open(wrong); err == nil {
			t.Errorf("a wrong byte at %d was not found", at)
		}
	}
}

func TestSnapshotKeys(t *testing.T) {
	id := sampleID(0xf8)
	if key := SnapshotKey("a.b"); key != "snapshots/a.b.json" {
		t.Error(key)
	}
	if name, ok := ParseSnapshotKey(SnapshotKey("a.b")); !ok || name != "a.b" {
		t.Error(name, ok)
	}
	state := SnapshotStateKey("a.b", id, 12)
	if state != "snapshots/a.b/"+id.String()+"/0012.kfm" || !strings.HasPrefix(state, SnapshotStatesPrefix("a.b")) {
		t.Error(state)
	}
	if name, got, journal, ok := ParseSnapshotStateKey(state); !ok || name != "a.b" || got != id || journal != 12 {
		t.Error(name, got, journal, ok)
	}
	for _, key := range []string{"", "snapshots/", "snapshots/.json", "snapshots/...json", "snapshots/a", "snapshots/a.json.json", "snapshots/a/b.json", "jobs/a.json", "a.json"} {
		if name, ok := ParseSnapshotKey(key); ok {
			t.Errorf("%s is the key of restore point %q", key, name)
		}
	}
	for _, key := range []string{"snapshots/a.json", "snapshots/a/" + id.String(), "snapshots/a/" + id.String() + "/12.kfm", "snapshots/a/" + id.String() + "/0012", "snapshots/a.json/" + id.String() + "/0012.kfm",
		"snapshots/a/x/0012.kfm", "snapshots/../" + id.String() + "/0012.kfm", "a/" + id.String() + "/0012.kfm"} {
		if _, _, _, ok := ParseSnapshotStateKey(key); ok {
			t.Errorf("%s is the key of a state", key)
		}
	}
}

func sampleRestoring() *Restoring {
	return &Restoring{Version: RestoringVersion, Snapshot: "before-v2", ID: TopicID{9}, Source: ClusterID{1}, Cluster: ClusterID{2}, Lineage: TopicID{3}, Began: 1700000000000}
}

const sampleRestoringText = `{"version":1,"snapshot":"before-v2","id":"CQAAAAAAAAAAAAAAAAAAAA","source":"AQAAAAAAAAAAAAAAAAAAAA","cluster":"AgAAAAAAAAAAAAAAAAAAAA","lineage":"AwAAAAAAAAAAAAAAAAAAAA","began":1700000000000}`

func TestRestoring(t *testing.T) {
	body, err := EncodeRestoring(sampleRestoring())
	if err != nil || string(body) != sampleRestoringText {
		t.Errorf("encoded: %s (%v)", body, err)
	}
	got, err := DecodeRestoring(body)
	if err != nil || !reflect.DeepEqual(got, sampleRestoring()) {
		t.Errorf("decoded: %+v (%v)", got, err)
	}
	for name, c := range map[string]struct {
		old, new string
		want     error
	}{
		"newer":            {`"version":1`, `"version":2`, ErrVersion},
		"unknown field":    {`"began":1`, `"paused":true,"began":1`, ErrCorrupt},
		"evil name":        {`"before-v2"`, `"a/b"`, ErrCorrupt},
		"the same cluster": {`"cluster":"Ag`, `"cluster":"AQ`, ErrCorrupt},
		"no lineage":       {`"lineage":"Aw`, `"lineage":"AA`, ErrCorrupt},
		"no time":          {`1700000000000`, `-1`, ErrCorrupt},
	} {
		if _, err := DecodeRestoring([]byte(strings.Replace(sampleRestoringText, c.old, c.new, 1))); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	ended := sampleRestoring()
	ended.Ended = true
	body, err = EncodeRestoring(ended)
	if want := strings.Replace(sampleRestoringText, "}", `,"ended":true}`, 1); err != nil || string(body) != want {
		t.Errorf("encoded: %s (%v)", body, err)
	}
	if again, err := DecodeRestoring(body); err != nil || *again != *ended {
		t.Errorf("decoded: %+v (%v)", again, err)
	}
	state := &Checkpoint{Metadata: []Entry{Cluster{ID: ClusterID{1}, Lineage: TopicID{1}, Journals: 4}, GroupSlot{Slot: 1, Journal: 2}}}
	got.Identify(state)
	if want := []Entry{Cluster{ID: ClusterID{2}, Lineage: TopicID{3}, Journals: 4}, GroupSlot{Slot: 1, Journal: 2}}; !reflect.DeepEqual(state.Metadata, want) {
		t.Errorf("the state becomes %+v", state.Metadata)
	}
}

func FuzzDecodeSnapshot(f *testing.F) {
	f.Add([]byte(sampleSnapshotText), "before-v2")
	f.Fuzz(func(t *testing.T, body []byte, name string) {
		s, err := DecodeSnapshot(body, name)
		if err != nil {
			return
		}
		again, err := EncodeSnapshot(s)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeSnapshot(again, name); err != nil || !reflect.DeepEqual(got, s) {
			t.Fatalf("written again it reads as %+v, %v\nwant %+v", got, err, s)
		}
	})
}

func FuzzDecodeRestoring(f *testing.F) {
	f.Add([]byte(sampleRestoringText))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := DecodeRestoring(body)
		if err != nil {
			return
		}
		again, err := EncodeRestoring(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeRestoring(again); err != nil || !reflect.DeepEqual(got, r) {
			t.Fatalf("written again it reads as %+v, %v\nwant %+v", got, err, r)
		}
	})
}

package inspect

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/record"
)

func verify(t *testing.T, store blob.Store) (Summary, []string) {
	t.Helper()
	var findings []string
	v := Verifier{Store: store, Report: func(f Finding) { findings = append(findings, f.String()) }}
	s, err := v.Namespace(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Findings != len(findings) {
		t.Errorf("%d findings were reported, %d counted", len(findings), s.Findings)
	}
	return s, findings
}

func TestVerifyFindsNothingWrong(t *testing.T) {
	n := sample(t)
	s, findings := verify(t, n.store)
	for _, f := range findings {
		t.Error(f)
	}
	s.Bytes = 0
	want := Summary{Journals: 2, Objects: 7, Checkpoints: 2, Pages: 1, Segments: 2, Batches: 2*(3+1+1+2+2) + 2, Records: 4 + 201 + 2 + 5 + 2 + 3 + 10 + 3 + 8 + 120}
	if s != want {
		t.Errorf("verified %+v, want %+v", s, want)
	}
}

func TestVerifyEmptyNamespace(t *testing.T) {
	if s, findings := verify(t, blob.NewMemory(nil)); s != (Summary{}) || findings != nil {
		t.Errorf("an empty namespace: %+v, %q", s, findings)
	}
}

// TestVerifyAfterDeletion: the first objects are gone, as a checkpoint allows.
func TestVerifyAfterDeletion(t *testing.T) {
	n := sample(t)
	c := n.checkpoint(0, 3)
	c.Released = []kfs.Run{{First: 0, Last: 2, Since: 1}}
	n.putCheckpoint(c)
	for s := range uint64(2) {
		n.remove(kfs.ObjectKey(0, s))
	}
	n.remove(kfs.CheckpointKey(0, 1))
	if _, findings := verify(t, n.store); len(findings) > 0 {
		t.Errorf("findings: %q", findings)
	}
	// The walk began after object 0, and the checkpoint of object 3 made up for it.
	c.Released = nil
	n.putCheckpoint(c)
	if _, findings := verify(t, n.store); len(findings) != 2 || !strings.Contains(findings[0], "names object 0 as live") {
		t.Errorf("findings: %q", findings)
	}
}

// TestVerifyRemnant: where objects are deleted may lie one that a writer put there who had slept.
func TestVerifyRemnant(t *testing.T) {
	for name, at := range map[string]uint64{"with a hole behind it": 0, "with nothing between": 2} {
		t.Run(name, func(t *testing.T) {
			n := sample(t)
			n.remove(kfs.CheckpointKey(0, 1))
			for s := range uint64(3) {
				n.remove(kfs.ObjectKey(0, s))
			}
			body, _, err := kfs.Seal(&kfs.Manifest{Journal: 0, Sequence: at, Created: 1, Epoch: 1, Writer: kfs.WriterID{9}, Previous: uint32(17 * at)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := n.store.Put(t.Context(), kfs.ObjectKey(0, at), body, true); err != nil {
				t.Fatal(err)
			}
			c := n.checkpoint(0, 3)
			c.Released = []kfs.Run{{First: 0, Last: 2, Since: 1}}
			n.putCheckpoint(c)
			if _, findings := verify(t, n.store); len(findings) > 0 {
				t.Errorf("findings: %q", findings)
			}
			c.Released = nil
			n.putCheckpoint(c)
			if _, findings := verify(t, n.store); len(findings) == 0 {
				t.Error("nothing is found where objects are missing that are live")
			}
		})
	}
}

// TestVerifyFinds damages a good namespace in one way at a time.
func TestVerifyFinds(t *testing.T) {
	object := func(s uint64) string { return kfs.ObjectKey(0, s) }
	segment := func(base int64) string { return kfs.SegmentKey(topicID(9), "old", 3, base) }
	rewrite := func(n *namespace, change func(j *journal, m *kfs.Manifest, bodies [][]byte)) {
		j := n.journal(0)
		m, bodies := n.object(j, part{1, "events", 0, 2}, part{2, "orders", 0, 1})
		change(j, m, bodies)
		n.write(j, m, bodies)
	}
	recheck := func(n *namespace, change func(c *kfs.Checkpoint)) {
		c := n.checkpoint(0, 3)
		change(c)
		n.putCheckpoint(c)
	}
	for name, tc := range map[string]struct {
		damage func(n *namespace)
		want   []string // each is part of the finding at its place
	}{
		"a flipped record": {func(n *namespace) { n.flip(object(1), 120) },
			[]string{object(1) + ": byte 32: corrupt: segment events/0 [0, 4) at byte 32 has CRC"}},
		"a flipped manifest": {func(n *namespace) { n.flip(object(2), -80) },
			[]string{object(2) + ": corrupt: manifest at byte"}},
		"a flipped header": {func(n *namespace) { n.flip(object(2), 20) },
			[]string{object(2) + ": corrupt: header says object 2 of journal 0, created"}},
		"a cut object": {func(n *namespace) { n.put(object(4), n.get(object(4))[:200]) },
			[]string{object(4) + ": corrupt: footer"}},
		"a missing object": {func(n *namespace) { n.remove(object(2)) },
			[]string{object(2) + ": a hole: objects 2 to 2 are missing, 3 is there"}},
		"an object under another key": {func(n *namespace) { n.put(object(5), n.get(object(3))) },
			[]string{object(5) + ": corrupt: it is object 3 of journal 0"}},
		"a broken chain": {func(n *namespace) {
			rewrite(n, func(_ *journal, m *kfs.Manifest, _ [][]byte) { m.Previous++ })
		}, []string{object(5) + ": corrupt: object 5 of journal 0 follows an object with CRC"}},
		"a falling epoch": {func(n *namespace) {
			rewrite(n, func(_ *journal, m *kfs.Manifest, _ [][]byte) { m.Epoch = 0 })
		}, []string{object(5) + ": corrupt: object 5 of journal 0 has epoch 0, below 1"}},
		"an overlap": {func(n *namespace) {
			rewrite(n, func(_ *journal, m *kfs.Manifest, bodies [][]byte) {
				m.Segments[0].Span.Base--
				m.Segments[0].Span.Next--
				restamp(bodies[0], m.Segments[0].Span.Base)
			})
		}, []string{object(5) + ": byte 32: events/0 [8, 11) overlaps what lies before, which ends at 9"}},
		"a gap": {func(n *namespace) {
			rewrite(n, func(_ *journal, m *kfs.Manifest, bodies [][]byte) {
				m.Segments[0].Span.Base++
				m.Segments[0].Span.Next++
				restamp(bodies[0], m.Segments[0].Span.Base)
			})
		}, []string{object(5) + ": byte 32: events/0: a gap: offsets [9, 10) are missing"}},
		"a gap that a trim explains": {func(n *namespace) {
			n.journal(0).offsets[kfs.PartitionID{Topic: topicID(1)}] += 10
			j := n.journal(0)
			m, _ := n.object(j)
			m.Entries = []kfs.Entry{kfs.Trim{Topic: topicID(1), LogStart: 19}}
			n.write(j, m, nil)
			n.append(0, part{1, "events", 0, 1})
		}, nil},
		"a record after the end of its topic": {func(n *namespace) {
			rewrite(n, func(_ *journal, m *kfs.Manifest, _ [][]byte) { m.Entries = []kfs.Entry{kfs.Ended{Topic: topicID(1)}} })
			n.append(0, part{1, "events", 0, 1})
		}, []string{object(6) + ": byte 32: events/0 [12, 14): the topic"}},
		"a batch that was damaged before it was sealed": {func(n *namespace) {
			rewrite(n, func(_ *journal, _ *kfs.Manifest, bodies [][]byte) { bodies[1][70] ^= 1 })
		}, []string{"orders/0 [17, 19): batch at offset 17: corrupt record batch: CRC-32C"}},
		"half a batch": {func(n *namespace) {
			rewrite(n, func(_ *journal, _ *kfs.Manifest, bodies [][]byte) { bodies[0] = bodies[0][:len(bodies[0])-1] })
		}, []string{"events/0 [9, 12): batch at byte "}},
		"a batch at another offset": {func(n *namespace) {
			rewrite(n, func(_ *journal, _ *kfs.Manifest, bodies [][]byte) { record.Stamp(bodies[1], 3, 1) })
		}, []string{"batch at offset 3 stands where offset 17 belongs", "batch at offset 18 stands where offset 4 belongs"}},
		"a wrong count": {func(n *namespace) {
			rewrite(n, func(_ *journal, m *kfs.Manifest, _ [][]byte) { m.Segments[0].Records = 2 })
		}, []string{"its batches hold 3 records, the manifest says 2"}},
		"a wrong time": {func(n *namespace) {
			rewrite(n, func(_ *journal, m *kfs.Manifest, _ [][]byte) { m.Segments[0].MaxTimestamp++ })
		}, []string{"the latest time of its batches is"}},
		"a producer that sent nothing": {func(n *namespace) {
			rewrite(n, func(_ *journal, m *kfs.Manifest, _ [][]byte) {
				m.Segments[0].Producers = []kfs.ProducerBatch{{BaseOffset: 9, LastOffset: 9}}
			})
		}, []string{"the manifest's producer batches are not those"}},
		"a flipped checkpoint": {func(n *namespace) { n.flip(kfs.CheckpointKey(0, 1), 50) },
			[]string{kfs.CheckpointKey(0, 1) + ": checkpoint: corrupt: CRC is"}},
		"a checkpoint of another object": {func(n *namespace) { recheck(n, func(c *kfs.Checkpoint) { c.ObjectCRC++ }) },
			[]string{kfs.CheckpointKey(0, 4) + ": it covers object 4 with CRC"}},
		"a checkpoint of another epoch": {func(n *namespace) { recheck(n, func(c *kfs.Checkpoint) { c.Epoch++ }) },
			[]string{kfs.CheckpointKey(0, 4) + ": it says owner epoch 2, object 4 has 1"}},
		"a checkpoint with another offset": {func(n *namespace) { recheck(n, func(c *kfs.Checkpoint) { c.Partitions[0].Next++ }) },
			[]string{"events/0: the next offset is 10, but the journal's objects end at 9"}},
		"a checkpoint without a partition": {func(n *namespace) { recheck(n, func(c *kfs.Checkpoint) { c.Partitions = c.Partitions[1:] }) },
			[]string{"partition " + topicID(1).String() + "/0 is missing, which ends at 9"}},
		"a checkpoint with a strange partition": {func(n *namespace) {
			recheck(n, func(c *kfs.Checkpoint) {
				c.Partitions = append(c.Partitions, kfs.PartitionState{Topic: topicID(7), Name: "ghost", Next: 3})
			})
		}, []string{"ghost/0: the next offset is 3, but no object has records of it"}},
		"a checkpoint whose index is wrong": {func(n *namespace) {
			recheck(n, func(c *kfs.Checkpoint) {
				c.Objects = slices.Clone(c.Objects)
				c.Objects[1].Created++
			})
		}, []string{"what it says of object 4 is not what that object holds"}},
		"a checkpoint beyond the end": {func(n *namespace) { recheck(n, func(c *kfs.Checkpoint) { c.Sequence++ }) },
			[]string{"it covers object 5, but the journal ends with 4"}},
		"a missing page": {func(n *namespace) { n.remove(kfs.PageKey(0, 0, 2)) },
			[]string{kfs.PageKey(0, 0, 2) + ": checkpoint " + kfs.CheckpointKey(0, 3) + " names this index page, which is not there"}},
		"another page": {func(n *namespace) {
			n.putPage(&kfs.Page{Journal: 0, First: 0, Last: 2, Objects: n.journal(0).objects[:2]})
		}, []string{kfs.PageKey(0, 0, 2) + ": it has"}},
		"a flipped page": {func(n *namespace) { n.flip(kfs.PageKey(0, 0, 2), 40) },
			[]string{kfs.PageKey(0, 0, 2) + ": index page: corrupt: CRC is"}},
		"a journal without its beginning": {func(n *namespace) { n.remove(kfs.ObjectKey(2, 0)) },
			[]string{kfs.ObjectKey(2, 0) + ": the journal begins with object 1, and no checkpoint covers"}},
		"a flipped segment": {func(n *namespace) { n.flip(segment(60), 100) },
			[]string{segment(60) + ": corrupt: body of the segment has CRC"}},
		"a segment at another base": {func(n *namespace) { n.put(segment(120), n.get(segment(60))) },
			[]string{segment(120) + ": it begins at offset 60", "overlaps the segment before", "segment-00000000000000000120.index: the segment has no index"}},
		"a missing segment": {func(n *namespace) {
			n.put(segment(180), n.get(segment(60)))
			object, index, err := kfs.SealSegment(0, [][]byte{n.batch(record.None, "old", 3, 180, 1)})
			if err != nil {
				n.t.Fatal(err)
			}
			n.put(segment(180), object)
			n.put(kfs.IndexKey(topicID(9), "old", 3, 180), index)
		}, []string{segment(180) + ": a gap: offsets [120, 180) are missing"}},
		"an index of another segment": {func(n *namespace) {
			n.put(kfs.IndexKey(topicID(9), "old", 3, 60), n.get(kfs.IndexKey(topicID(9), "old", 3, 0)))
		}, []string{"segment-00000000000000000060.index: corrupt: index entry 0: no batch with base offset 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := sample(t)
			tc.damage(n)
			_, findings := verify(t, n.store)
			if len(findings) != len(tc.want) {
				t.Fatalf("findings:\n%s\nwant %d", strings.Join(findings, "\n"), len(tc.want))
			}
			for i, want := range tc.want {
				if !strings.Contains(findings[i], want) {
					t.Errorf("finding %q\nhas no %q", findings[i], want)
				}
			}
		})
	}
}

// restamp moves back-to-back batches to another offset.
func restamp(body []byte, base int64) {
	for batch, err := range record.Batches(body) {
		h, _ := record.ParseHeader(batch)
		if err != nil {
			panic(err)
		}
		record.Stamp(batch, base, 1)
		base += int64(h.LastOffsetDelta) + 1
	}
}

// TestVerifyEveryByte: no byte of a journal object can change without a finding.
func TestVerifyEveryByte(t *testing.T) {
	n := newNamespace(t)
	n.append(0, part{1, "events", 0, 3}, part{2, "orders", 0, 1})
	n.append(0)
	key := kfs.ObjectKey(0, 0)
	good := n.get(key)
	for i := range good {
		n.put(key, good)
		n.flip(key, i)
		if _, findings := verify(t, n.store); len(findings) == 0 {
			t.Errorf("byte %d changed: nothing was found", i)
		}
	}
}

func TestVerifyOneObject(t *testing.T) {
	n := sample(t)
	for _, key := range []string{kfs.ObjectKey(0, 1), kfs.CheckpointKey(0, 1), kfs.PageKey(0, 0, 2), kfs.SegmentKey(topicID(9), "old", 3, 60), kfs.IndexKey(topicID(9), "old", 3, 60)} {
		for _, damaged := range []bool{false, true} {
			if damaged {
				n.flip(key, 0)
			}
			count := 0
			v := Verifier{Store: n.store, Report: func(Finding) { count++ }}
			if s, err := v.Object(t.Context(), key); err != nil || s.Findings != count || (count > 0) != damaged {
				t.Errorf("%s, damaged %v: %d findings, %+v, %v", key, damaged, count, s, err)
			}
		}
	}
	v := Verifier{Store: n.store, Report: func(Finding) {}}
	if _, err := v.Object(t.Context(), "nothing"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("an object that is not there: %v", err)
	}
}

// dropping is a store whose owner drops an object as soon as it was listed.
type dropping struct {
	*blob.Memory
	key string
}

func (d dropping) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Page, error] {
	return func(yield func(blob.Page, error) bool) {
		for page, err := range d.Memory.List(ctx, prefix, after) {
			if err == nil && prefix == kfs.CheckpointPrefix(0) {
				err = d.Delete(ctx, d.key)
			}
			if !yield(page, err) {
				return
			}
		}
	}
}

// TestVerifyBesideItsOwner: a checkpoint that is dropped while the walk goes on is no damage.
func TestVerifyBesideItsOwner(t *testing.T) {
	n := sample(t)
	s, findings := verify(t, dropping{n.store, kfs.CheckpointKey(0, 1)})
	if len(findings) > 0 || s.Checkpoints != 1 {
		t.Errorf("%d checkpoints, findings %q", s.Checkpoints, findings)
	}
}

// TestVerifyStops: an error of the store is no finding.
func TestVerifyStops(t *testing.T) {
	n := sample(t)
	ctx, cancel := context.WithCancel(t.Context())
	v := Verifier{Store: n.store, Report: func(f Finding) { t.Error(f) }, Progress: func(Summary) { cancel() }}
	if _, err := v.Namespace(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled walk: %v", err)
	}
}

// TestVerifyManyObjects: more objects than a page of a listing has, read several at a time, in order.
func TestVerifyManyObjects(t *testing.T) {
	n := newNamespace(t)
	const objects = 350
	for range objects {
		n.append(0, part{1, "events", 0, 3}, part{1, "events", 1, 1})
	}
	last := 0
	v := Verifier{Store: n.store, Report: func(f Finding) { t.Error(f) }, Progress: func(s Summary) {
		if s.Objects != last+1 {
			t.Errorf("after %d objects come %d", last, s.Objects)
		}
		last = s.Objects
	}}
	if s, err := v.Namespace(t.Context()); err != nil || s.Objects != objects || s.Records != objects*6 {
		t.Errorf("%+v, %v", s, err)
	}
	got, err := values(TopicRecords(t.Context(), n.store, Selection{Topic: "events", Partition: 0}))
	if err != nil || !slices.Equal(got, want("events", 0, 0, objects*4)) {
		t.Errorf("%d records, %v", len(got), err)
	}
}

func BenchmarkVerify(b *testing.B) {
	n := newNamespace(b)
	body := n.batch(record.None, "events", 0, 0, 10000)
	for i := range uint64(16) {
		m := &kfs.Manifest{Sequence: i, Previous: n.journal(0).crc, Writer: kfs.WriterID{1}}
		var bodies [][]byte
		for p := range int32(8) {
			m.Segments = append(m.Segments, kfs.Segment{Topic: topicID(1), Name: "events", Partition: 8*int32(i) + p, Span: kfs.Span{Next: 10000}, Records: 10000, MaxTimestamp: 1_700_000_009_999})
			bodies = append(bodies, body)
		}
		n.write(n.journal(0), m, bodies)
	}
	b.SetBytes(16 * 8 * int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		v := Verifier{Store: n.store, Report: func(f Finding) { b.Error(f) }}
		if _, err := v.Namespace(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

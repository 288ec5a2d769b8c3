package kfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestSealRefuses changes one thing of a good manifest at a time. What Seal refuses, Open would refuse too: both call Validate.
func TestSealRefuses(t *testing.T) {
	for name, change := range map[string]func(m *Manifest){
		"journal too large":        func(m *Manifest) { m.Journal = MaxJournals },
		"metadata off journal 0":   func(m *Manifest) { m.Journal = 1 },
		"negative created":         func(m *Manifest) { m.Created = -1 },
		"negative epoch":           func(m *Manifest) { m.Epoch = -1 },
		"no writer":                func(m *Manifest) { m.Writer = WriterID{} },
		"predecessor of object 0":  func(m *Manifest) { m.Sequence = 0 },
		"zero topic id":            func(m *Manifest) { m.Segments[1].Topic = TopicID{} },
		"name with a slash":        func(m *Manifest) { m.Segments[0].Name = "../evil" },
		"empty name":               func(m *Manifest) { m.Segments[0].Name = "" },
		"negative partition":       func(m *Manifest) { m.Segments[0].Partition = -1 },
		"partition twice":          func(m *Manifest) { m.Segments[1].Partition = 0 },
		"empty span":               func(m *Manifest) { m.Segments[1].Span = Span{3, 3} },
		"negative span":            func(m *Manifest) { m.Segments[1].Span = Span{-1, 3} },
		"no records":               func(m *Manifest) { m.Segments[1].Records = 0 },
		"records beyond span":      func(m *Manifest) { m.Segments[1].Records = 2 },
		"producer before span":     func(m *Manifest) { m.Segments[0].Producers[0].BaseOffset = 99 },
		"producer behind span":     func(m *Manifest) { m.Segments[0].Producers[1].LastOffset = 103 },
		"producers out of order":   func(m *Manifest) { m.Segments[0].Producers[1].BaseOffset = 101 },
		"negative producer id":     func(m *Manifest) { m.Segments[0].Producers[0].ProducerID = -1 },
		"negative producer epoch":  func(m *Manifest) { m.Segments[0].Producers[0].ProducerEpoch = -1 },
		"negative sequence":        func(m *Manifest) { m.Segments[0].Producers[0].FirstSequence = -1 },
		"nil entry":                func(m *Manifest) { m.Entries[0] = nil },
		"cluster without id":       func(m *Manifest) { m.Entries[0] = Cluster{Lineage: sampleID(1), Journals: 1} },
		"cluster without journals": func(m *Manifest) { m.Entries[0] = Cluster{ID: sampleID(1), Lineage: sampleID(1)} },
		"topic without partitions": func(m *Manifest) { m.Entries[0] = Topic{ID: sampleID(1), Name: "t", State: TopicLive} },
		"topic state":              func(m *Manifest) { m.Entries[0] = Topic{ID: sampleID(1), Name: "t", State: 4, Journals: []uint32{0}} },
		"topic name":               func(m *Manifest) { m.Entries[0] = Topic{ID: sampleID(1), Name: "..", State: 1, Journals: []uint32{0}} },
		"topic's journal": func(m *Manifest) {
			m.Entries[0] = Topic{ID: sampleID(1), Name: "t", State: 1, Journals: []uint32{MaxJournals}}
		},
		"configs out of order": func(m *Manifest) {
			m.Entries[0] = Topic{ID: sampleID(1), Name: "t", State: 1, Journals: []uint32{0}, Configs: []Config{{"b", ""}, {"a", ""}}}
		},
		"huge config": func(m *Manifest) {
			m.Entries[0] = Topic{ID: sampleID(1), Name: "t", State: 1, Journals: []uint32{0}, Configs: []Config{{"b", strings.Repeat("x", MaxString+1)}}}
		},
		"group slot":            func(m *Manifest) { m.Entries[0] = GroupSlot{Slot: 64} },
		"group slot's journal":  func(m *Manifest) { m.Entries[0] = GroupSlot{Journal: MaxJournals} },
		"no producer ids":       func(m *Manifest) { m.Entries[0] = ProducerIDs{} },
		"producer ids overflow": func(m *Manifest) { m.Entries[0] = ProducerIDs{First: 1 << 62, Count: 1 << 62} },
		"trim below zero":       func(m *Manifest) { m.Entries[0] = Trim{Topic: sampleID(1), LogStart: -1} },
		"trim without topic":    func(m *Manifest) { m.Entries[0] = Trim{} },
		"nothing settled":       func(m *Manifest) { m.Entries[0] = Settled{Topic: sampleID(1)} },
		"settled elsewhere": func(m *Manifest) {
			m.Entries[0] = Settled{Topic: sampleID(1), Segments: sampleSettled(sampleID(2), "t", 0)}
		},
		"settled with a gap": func(m *Manifest) {
			segments := sampleSettled(sampleID(1), "t", 0)
			segments[0].Span.Next = 59
			m.Entries[0] = Settled{Topic: sampleID(1), Segments: segments}
		},
		"ended without topic": func(m *Manifest) { m.Entries[0] = Ended{} },
		"no group offsets":    func(m *Manifest) { m.Entries[0] = GroupOffsets{} },
		"group without id":    func(m *Manifest) { m.Entries[0] = GroupOffsets{[]GroupOffset{{Topic: "t"}}} },
		"group offset":        func(m *Manifest) { m.Entries[0] = GroupOffsets{[]GroupOffset{{Group: "g", Topic: "t", Offset: -2}}} },
		"group topic":         func(m *Manifest) { m.Entries[0] = GroupOffsets{[]GroupOffset{{Group: "g", Topic: "a/b"}}} },
	} {
		m, bodies := sampleManifest()
		change(m)
		if _, _, err := Seal(m, bodies); err == nil {
			t.Errorf("%s was sealed", name)
		}
	}
	m, bodies := sampleManifest()
	if _, _, err := Seal(m, bodies[:2]); err == nil {
		t.Error("a body too few was sealed")
	}
	bodies[1] = nil
	if _, _, err := Seal(m, bodies); err == nil {
		t.Error("an empty body was sealed")
	}
}

// TestOpenRefusesGaps seals manifests by hand whose segments do not tile the object.
func TestOpenRefusesGaps(t *testing.T) {
	for name, change := range map[string]func(m *Manifest){
		"a gap before the first":   func(m *Manifest) { m.Segments[0].Position++ },
		"a gap between":            func(m *Manifest) { m.Segments[1].Position++ },
		"an overlap":               func(m *Manifest) { m.Segments[1].Position-- },
		"a gap behind the last":    func(m *Manifest) { m.Segments[2].Length-- },
		"a length beyond the end":  func(m *Manifest) { m.Segments[2].Length = 1 << 40 },
		"lengths that overflow":    func(m *Manifest) { m.Segments[2].Length = 1<<63 - 1 },
		"a negative length":        func(m *Manifest) { m.Segments[0].Length = -1 },
		"two segments of one part": func(m *Manifest) { m.Segments[2].Topic, m.Segments[2].Partition = m.Segments[0].Topic, 0 },
	} {
		m, _, object, _ := sealSample(t)
		end := m.end()
		change(m)
		if _, _, err := Open(withManifest(object[:end], m.encode())); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// withManifest puts a manifest and its footer behind header and segments.
func withManifest(object, manifest []byte) []byte {
	e := encoder{slices.Clone(object)}
	e.b = append(e.b, manifest...)
	e.u64(uint64(len(object)))
	e.u32(uint32(len(manifest)))
	e.u32(Checksum(manifest))
	e.u32(0)
	return append(e.b, endMagic...)
}

func TestEncodeCheckpointRefuses(t *testing.T) {
	for name, change := range map[string]func(c *Checkpoint){
		"journal too large":         func(c *Checkpoint) { c.Journal = MaxJournals },
		"metadata off journal 0":    func(c *Checkpoint) { c.Journal = 1 },
		"records as metadata":       func(c *Checkpoint) { c.Metadata[0] = Ended{Topic: sampleID(1)} },
		"no writer":                 func(c *Checkpoint) { c.Writer = WriterID{} },
		"partitions out of order":   func(c *Checkpoint) { c.Partitions[0], c.Partitions[1] = c.Partitions[1], c.Partitions[0] },
		"partition twice":           func(c *Checkpoint) { c.Partitions[1] = c.Partitions[0] },
		"next before log start":     func(c *Checkpoint) { c.Partitions[0].Next = 10 },
		"settled behind next":       func(c *Checkpoint) { c.Partitions[0].Next = 99 },
		"producer twice":            func(c *Checkpoint) { c.Partitions[0].Producers[1].ProducerID = 7 },
		"six batches of a producer": func(c *Checkpoint) { c.Partitions[0].Producers[0].Batches = make([]ProducerBatch, 6) },
		"batch of another producer": func(c *Checkpoint) { c.Partitions[0].Producers[1].Batches[0].ProducerID = 1 },
		"batch behind next":         func(c *Checkpoint) { c.Partitions[0].Producers[1].Batches[1].LastOffset = 103 },
		"group":                     func(c *Checkpoint) { c.Groups[0].Group = "" },
		"pages overlap":             func(c *Checkpoint) { c.Pages[1].First = 299 },
		"page reversed":             func(c *Checkpoint) { c.Pages[1].Last = 1 },
		"page behind checkpoint":    func(c *Checkpoint) { c.Pages[1].Last = 501 },
		"object in a page":          func(c *Checkpoint) { c.Objects[0].Sequence = 399 },
		"objects out of order":      func(c *Checkpoint) { c.Objects[1].Sequence = 400 },
		"object behind checkpoint":  func(c *Checkpoint) { c.Objects[2].Sequence = 501 },
		"object too small":          func(c *Checkpoint) { c.Objects[1].Size = 55 },
		"segment behind its object": func(c *Checkpoint) { c.Objects[0].Segments[1].Length = 1000 },
		"object with producers": func(c *Checkpoint) {
			c.Objects[0].Segments[0].Producers = []ProducerBatch{{BaseOffset: 100, LastOffset: 100}}
		},
		"runs overlap":          func(c *Checkpoint) { c.Released[1].First = 99 },
		"run reversed":          func(c *Checkpoint) { c.Released[1].Last = 1 },
		"run behind checkpoint": func(c *Checkpoint) { c.Released[1].Last = 501 },
	} {
		c := sampleCheckpoint()
		change(c)
		if _, err := EncodeCheckpoint(c); err == nil {
			t.Errorf("%s was encoded", name)
		}
	}
	p := samplePage()
	p.Last = 312
	if _, err := EncodePage(p); err == nil {
		t.Error("a page with an object behind it was encoded")
	}
}

func TestFollows(t *testing.T) {
	m := &Manifest{Journal: 2, Sequence: 8, Previous: 5, Epoch: 3}
	if err := m.Follows(2, 7, 5, 3); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"journal": m.Follows(1, 7, 5, 3), "sequence": m.Follows(2, 6, 5, 3), "chain": m.Follows(2, 7, 4, 3), "epoch": m.Follows(2, 7, 5, 4),
	} {
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("another %s: %v", name, err)
		}
	}
}

// leaf is a body whose fields end it and hold none that are known.
func leaf(b []byte) int { return len(b) }

// named is a body of n bytes and a string before its fields.
func named(n int) func([]byte) int {
	return func(b []byte) int { return n + 2 + int(binary.BigEndian.Uint16(b[n:])) }
}

func fixed(n int) func([]byte) int { return func([]byte) int { return n } }

// entryBodies, manifestBodies and checkpointBodies say where the fields at the end of each body begin, by the path of kinds.
var entryBodies = map[string]func([]byte) int{
	"/10": leaf, "/11": fixed(20), "/11/1": leaf, "/12": leaf, "/13": fixed(0), "/13/1": leaf,
	"/20": leaf, "/21": named(25), "/21/2": leaf, "/22": leaf, "/23": leaf,
}

func manifestBodies() map[string]func([]byte) int {
	bodies := maps.Clone(entryBodies)
	maps.Copy(bodies, map[string]func([]byte) int{"": fixed(0), "/1": leaf, "/2": named(76), "/2/1": leaf})
	return bodies
}

func checkpointBodies() map[string]func([]byte) int {
	bodies := maps.Clone(entryBodies)
	maps.Copy(bodies, map[string]func([]byte) int{
		"": fixed(0), "/1": leaf, "/40": named(45), "/40/1": leaf, "/40/2": fixed(10), "/40/2/1": leaf, "/41": leaf, "/42": leaf,
		"/43": fixed(28), "/43/2": named(76), "/44": leaf,
	})
	return bodies
}

// grower adds a field that nobody knows to the end of every body; the one with the number required is such that it must be understood.
type grower struct {
	t        *testing.T
	bodies   map[string]func([]byte) int
	required int
	count    int
}

func (g *grower) grow(path string, body []byte) []byte {
	where, ok := g.bodies[path]
	if !ok {
		if path == "/21/1" { // the journals of a topic: numbers only
			return body
		}
		g.t.Fatalf("no rule for the body of %q", path)
	}
	n := where(body)
	e := encoder{slices.Clone(body[:n])}
	d := decoder{b: body[n:]}
	for {
		kind, field, ok := d.field()
		if !ok {
			break
		}
		mark := e.begin(kind)
		e.b = append(e.b, g.grow(fmt.Sprintf("%s/%x", path, kind), field.b)...)
		e.end(mark)
	}
	kind := uint16(0xf001)
	if g.count == g.required {
		kind = 0x7001
	}
	g.count++
	mark := e.begin(kind)
	e.b = append(e.b, "new"...)
	e.end(mark)
	return e.b
}

// growth checks that every body may grow by fields that need not be understood, and that each one that must be is refused by name.
func growth(t *testing.T, fields []byte, bodies map[string]func([]byte) int, decode func(fields []byte) error) {
	t.Helper()
	g := grower{t: t, bodies: bodies, required: -1}
	if err := decode(g.grow("", fields)); err != nil {
		t.Errorf("grown everywhere: %v", err)
	}
	for i := range g.count {
		one := grower{t: t, bodies: bodies, required: i}
		if err := decode(one.grow("", fields)); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "0x7001") {
			t.Errorf("required field in body %d: %v", i, err)
		}
	}
}

func TestManifestGrows(t *testing.T) {
	m, _, object, _ := sealSample(t)
	growth(t, m.encode(), manifestBodies(), func(fields []byte) error {
		got, _, err := Open(withManifest(object[:m.end()], fields))
		if err == nil && !reflect.DeepEqual(got, m) {
			t.Errorf("grown manifest reads as %+v", got)
		}
		return err
	})
}

func TestCheckpointGrows(t *testing.T) {
	c := sampleCheckpoint()
	object, err := EncodeCheckpoint(c)
	if err != nil {
		t.Fatal(err)
	}
	growth(t, object[metaHeaderSize:len(object)-metaFooterSize], checkpointBodies(), func(fields []byte) error {
		e := encoder{append(slices.Clone(object[:metaHeaderSize]), fields...)}
		got, err := DecodeCheckpoint(e.endMeta())
		if err == nil && !reflect.DeepEqual(got, c) {
			t.Errorf("grown checkpoint reads as %+v", got)
		}
		return err
	})
}

func TestPageGrows(t *testing.T) {
	p := samplePage()
	object, err := EncodePage(p)
	if err != nil {
		t.Fatal(err)
	}
	growth(t, object[metaHeaderSize:len(object)-metaFooterSize], checkpointBodies(), func(fields []byte) error {
		e := encoder{append(slices.Clone(object[:metaHeaderSize]), fields...)}
		got, err := DecodePage(e.endMeta())
		if err == nil && !reflect.DeepEqual(got, p) {
			t.Errorf("grown page reads as %+v", got)
		}
		return err
	})
}

package work

import (
	"bytes"
	"cmp"
	"hash/crc32"
	"reflect"
	"strings"
	"testing"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/lease"
	"github.com/firn-io/firn/runtime/processor"
)

func sourceOf(partition int32) processor.Source {
	return processor.Source{Topic: "events", ID: topicOf(1), Partition: partition}
}

// groupFor is a group that takes a partition from one offset to another.
func groupFor(partition int32, from, to int64) *group {
	s := sourceOf(partition)
	return &group{job: "job", table: "default.events", from: processor.Positions{s: from}, to: processor.Positions{s: to},
		staged: []processor.Staged{{Spans: map[processor.Source]kfs.Span{s: {Base: from, Next: to}}, Data: []byte("file")}}}
}

func TestGroupTravels(t *testing.T) {
	g := groupFor(3, 10, 20)
	more := sourceOf(4) // advanced without rows
	g.from[more], g.to[more] = 5, 5
	g.staged = append(g.staged, processor.Staged{Spans: map[processor.Source]kfs.Span{}, Data: []byte{0, 255}})
	object, err := g.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeGroup(object)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, g) {
		t.Errorf("%+v became %+v", g, got)
	}
	for i := range object {
		damaged := bytes.Clone(object)
		damaged[i] ^= 4
		if _, err := decodeGroup(damaged); err == nil {
			t.Fatalf("a group with another byte %d is taken", i)
		}
	}
	if _, err := decodeGroup(object[:len(object)-1]); err == nil {
		t.Error("a group without its last byte is taken")
	}
}

func TestGroupIsRefused(t *testing.T) {
	for name, change := range map[string]func(*group){
		"no source":               func(g *group) { g.from, g.to = nil, nil },
		"a source without a from": func(g *group) { g.from = nil },
		"backwards":               func(g *group) { g.to[sourceOf(3)] = 9 },
		"a negative offset":       func(g *group) { g.from[sourceOf(3)] = -1 },
		"a job that is none":      func(g *group) { g.job = "../job" },
		"no table":                func(g *group) { g.table = "" },
		"a span of another":       func(g *group) { g.staged[0].Spans[sourceOf(7)] = kfs.Span{Base: 1, Next: 2} },
		"a span behind the end":   func(g *group) { g.staged[0].Spans[sourceOf(3)] = kfs.Span{Base: 10, Next: 21} },
		"too large":               func(g *group) { g.staged[0].Data = make([]byte, maxGroupBytes) },
	} {
		g := groupFor(3, 10, 20)
		change(g)
		if _, err := g.encode(); err == nil {
			t.Errorf("%s: the group is written", name)
		}
	}
}

// TestGroupOfAnother has a committer read groups that are not what their worker has announced, or not of its own job, configuration or table.
func TestGroupOfAnother(t *testing.T) {
	for name, change := range map[string]func(g *group, h *handed){
		"":                      func(*group, *handed) {},
		"other bytes":           func(_ *group, h *handed) { h.CRC++ },
		"another size":          func(_ *group, h *handed) { h.Size++ },
		"another job":           func(g *group, _ *handed) { g.job = "other" },
		"another configuration": func(g *group, _ *handed) { g.config = "other" },
		"another table":         func(g *group, _ *handed) { g.table = "default.other" },
	} {
		m, err := New(Config{Job: "job", Hash: "config", Leases: lease.NewMemory().Service("/", 0), Store: blob.NewMemory(nil)})
		if err != nil {
			t.Fatal(err)
		}
		g := groupFor(0, 10, 20)
		g.config = "config"
		h := handed{ID: "id", Table: g.table}
		change(g, &h)
		object, err := g.encode()
		if err != nil {
			t.Fatal(err)
		}
		h.Size, h.CRC = h.Size+int64(len(object)), h.CRC+crc32.Checksum(object, castagnoli)
		if _, err := m.cfg.Store.Put(t.Context(), groupKey("job", "worker", h.ID), object, true); err != nil {
			t.Fatal(err)
		}
		if _, err := m.readGroup(t.Context(), take{groupRef{"worker", h.ID}, h}); (err == nil) != (name == "") {
			t.Errorf("%s: the group is read with %v", cmp.Or(name, "as it was announced"), err)
		}
	}
}

func FuzzDecodeGroup(f *testing.F) {
	object, err := groupFor(3, 10, 20).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(object)
	f.Add([]byte(groupMagic + "00000000\n{}"))
	f.Fuzz(func(t *testing.T, object []byte) {
		g, err := decodeGroup(object)
		if err != nil {
			return
		}
		again, err := g.encode()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if second, err := decodeGroup(again); err != nil || !reflect.DeepEqual(second, g) {
			t.Fatalf("%+v became %+v: %v", g, second, err)
		}
	})
}

func TestAdmit(t *testing.T) {
	known := processor.Positions{sourceOf(0): 10, sourceOf(1): 5}
	both := groupFor(0, 20, 30)
	both.from[sourceOf(1)], both.to[sourceOf(1)] = 6, 7 // the table stands at 5
	for _, c := range []struct {
		name   string
		groups []*group
		want   []bool
		to     processor.Positions
	}{
		{"where the table stands", []*group{groupFor(0, 10, 20), groupFor(1, 5, 6)}, []bool{true, true}, processor.Positions{sourceOf(0): 20, sourceOf(1): 6}},
		{"one behind the other", []*group{groupFor(0, 10, 20), groupFor(0, 20, 30)}, []bool{true, true}, processor.Positions{sourceOf(0): 30}},
		{"behind", []*group{groupFor(0, 9, 20), groupFor(1, 5, 6)}, []bool{false, true}, processor.Positions{sourceOf(1): 6}},
		{"ahead", []*group{groupFor(0, 11, 20)}, []bool{false}, processor.Positions{}},
		{"whole or not at all", []*group{groupFor(0, 10, 20), both}, []bool{true, false}, processor.Positions{sourceOf(0): 20}},
		{"twice", []*group{groupFor(0, 10, 20), groupFor(0, 10, 20)}, []bool{true, false}, processor.Positions{sourceOf(0): 20}},
		{"never committed", []*group{groupFor(2, 40, 50), groupFor(2, 50, 60), groupFor(2, 40, 60)}, []bool{true, true, false}, processor.Positions{sourceOf(2): 60}},
	} {
		sum, taken := admit(known, c.groups)
		if !reflect.DeepEqual(taken, c.want) || !reflect.DeepEqual(sum.to, c.to) {
			t.Errorf("%s: took %v up to %v, want %v up to %v", c.name, taken, sum.to, c.want, c.to)
		}
	}
	if len(known) != 2 || known[sourceOf(0)] != 10 {
		t.Errorf("the position became %v", known)
	}
}

func TestKeys(t *testing.T) {
	claimed := set{}
	for _, p := range []int32{0, 1, 2, 7, 9, 10} {
		claimed[kfs.PartitionID{Topic: topicOf(1), Partition: p}] = true
	}
	value, err := encodeWorker("s", "host/1", put{claimed, 3}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := `"0-2,7,9-10"`; !strings.Contains(value, want) {
		t.Errorf("%s does not hold %s", value, want)
	}
	key, got, err := decodeWorker(value)
	if err != nil || !reflect.DeepEqual(got, claimed) || key.Edition != 3 || key.Session != "s" || key.Name != "host/1" {
		t.Errorf("%s was read as %+v %v: %v", value, key, got, err)
	}
	for _, text := range []string{"", "1-0", "a", "1,1", "3,2", "-1", "0-99999999", "1-2-3", " 1"} {
		if err := parseRanges(text, func(int32) {}); err == nil {
			t.Errorf("partitions %q are taken", text)
		}
	}
	for _, value := range []string{"", "{}", `{"version":2}`, `{"version":1,"claims":{"x":"0"}}`, `{"version":1,"handed":[{"id":"../x"}]}`} {
		_, _, err := decodeWorker(value)
		if _, err2 := decodeGroups(value); err == nil && err2 == nil {
			t.Errorf("key %s is taken", value)
		}
	}
}

// TestTenThousandPartitions shows that a worker's key holds so many with room to spare: etcd takes 1.5 MB.
func TestTenThousandPartitions(t *testing.T) {
	claimed := set{}
	for i := range 10_000 {
		claimed[kfs.PartitionID{Topic: topicOf(i), Partition: int32(i % 7)}] = true
	}
	value, err := encodeWorker("s", "host/1", put{claimed, 1}, nil)
	if err != nil || len(value) > 1<<19 {
		t.Errorf("%d bytes: %v", len(value), err)
	}
	if _, got, err := decodeWorker(value); err != nil || len(got) != len(claimed) {
		t.Errorf("%d partitions became %d: %v", len(claimed), len(got), err)
	}
}

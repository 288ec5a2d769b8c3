package kfs

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write golden files, fuzz seeds and the README's example anew; a golden file that was released never changes")

// golden compares got with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		writeFile(t, path, got)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: the writer gives other bytes than the golden file", path)
	}
}

func writeFile(t *testing.T, path string, body []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, body, 0o644); err != nil {
		t.Fatal(err)
	}
}

// seed keeps an input of a fuzz target.
func seed(t *testing.T, target, name string, args ...[]byte) {
	t.Helper()
	var b strings.Builder
	b.WriteString("go test fuzz v1\n")
	for _, arg := range args {
		fmt.Fprintf(&b, "[]byte(%q)\n", arg)
	}
	path := filepath.Join("testdata", "fuzz", target, name)
	if *update {
		writeFile(t, path, []byte(b.String()))
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != b.String() {
		t.Errorf("%s is not the seed that its sample gives: %v", path, err)
	}
}

func TestGoldenObject(t *testing.T) {
	m, _, object, _ := sealSample(t)
	golden(t, "object-v2.kfs", object)
	if got, _, err := Open(object); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("golden object reads as %+v, %v", got, err)
	}
	empty, _, err := Seal(&Manifest{Epoch: 1, Writer: WriterID{1}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	seed(t, "FuzzOpen", "sample", object)
	seed(t, "FuzzOpen", "empty", empty)
	seed(t, "FuzzOpenTail", "sample", object[m.end():len(object)-FooterSize])
	seed(t, "FuzzOpenTail", "empty", empty[HeaderSize:len(empty)-FooterSize])
	g := grower{t: t, bodies: manifestBodies(), required: -1}
	seed(t, "FuzzOpenTail", "grown", g.grow("", m.encode()))
}

func TestGoldenCheckpoint(t *testing.T) {
	object, err := EncodeCheckpoint(sampleCheckpoint())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "checkpoint-v1.kfm", object)
	seed(t, "FuzzDecodeCheckpoint", "sample", object)
	g := grower{t: t, bodies: checkpointBodies(), required: -1}
	grown := encoder{bytes.Clone(object[:metaHeaderSize])}
	grown.b = append(grown.b, g.grow("", object[metaHeaderSize:len(object)-metaFooterSize])...)
	seed(t, "FuzzDecodeCheckpoint", "grown", grown.endMeta())
}

func TestGoldenPage(t *testing.T) {
	object, err := EncodePage(samplePage())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "index-v1.kfm", object)
	seed(t, "FuzzDecodePage", "sample", object)
}

func TestGoldenSegment(t *testing.T) {
	object, index := smallSegment(t)
	golden(t, "segment-v1.kfs", object)
	golden(t, "segment-v1.index", index)
	_, long := sampleSegment(t)
	seed(t, "FuzzOpenSegment", "sample", object)
	seed(t, "FuzzDecodeIndex", "sample", index, object)
	seed(t, "FuzzDecodeIndex", "long", long, object)
}

// exampleObject is the object whose bytes the README shows, part by part.
func exampleObject(t *testing.T) (object []byte, parts []part) {
	t.Helper()
	batch := sampleBatch(41, 1_700_000_000_000, "hello")
	m := &Manifest{
		Journal: 3, Sequence: 9, Created: 1_700_000_000_150, Epoch: 2, Writer: WriterID(sampleID(0xa0)), Previous: 0x1badcafe,
		Segments: []Segment{{
			Topic: sampleID(0x10), Name: "snow", Partition: 1, Span: Span{41, 42}, Records: 1,
			FirstTimestamp: 1_700_000_000_000, MaxTimestamp: 1_700_000_000_000,
		}},
		Entries: []Entry{Trim{Topic: sampleID(0x10), Partition: 1, LogStart: 40, Metadata: 7}},
	}
	object, _, err := Seal(m, [][]byte{batch})
	if err != nil {
		t.Fatal(err)
	}
	return object, []part{
		{4, "header: magic KAFS"}, {2, "format version 2"}, {2, "flags"}, {4, "journal 3"}, {8, "sequence 9"}, {8, "created"}, {4, "reserved"},
		{len(batch), "segment: one record batch with the record hello at offset 41"},
		{6, "manifest: object field (kind 1, 44 bytes)"}, {4, "journal 3"}, {8, "sequence 9"}, {8, "created"}, {4, "owner epoch 2"},
		{16, "writer id"}, {4, "Object CRC of sequence 8"},
		{6, "segment field (kind 2, 82 bytes)"}, {16, "topic id"}, {4, "partition 1"}, {8, "base 41"}, {8, "next 42"}, {4, "1 record"},
		{8, "position 32"}, {8, "length"}, {4, "CRC-32C of those bytes"}, {8, "first timestamp"}, {8, "max timestamp"}, {6, "topic name snow"},
		{6, "trim field (kind 16, 36 bytes)"}, {16, "topic id"}, {4, "partition 1"}, {8, "log start 40"}, {8, "journal 0 sequence 7"},
		{8, "footer: manifest position"}, {4, "manifest length"}, {4, "CRC-32C of the manifest"}, {4, "reserved"}, {4, "magic END!"},
	}
}

// part is a run of bytes and what it means.
type part struct {
	size int
	what string
}

// annotate writes object as lines of at most 16 bytes: position, bytes, and beside the first of a part what it means.
func annotate(t *testing.T, object []byte, parts []part) string {
	t.Helper()
	var b strings.Builder
	at := 0
	for _, p := range parts {
		for end := at + p.size; at < end; p.what = "" {
			n := min(16, end-at)
			b.WriteString(strings.TrimRight(fmt.Sprintf("%04x  %-47s  %s", at, fmt.Sprintf("% x", object[at:at+n]), p.what), " "))
			b.WriteByte('\n')
			at += n
		}
	}
	if at != len(object) {
		t.Fatalf("the parts have %d bytes, the object %d", at, len(object))
	}
	return b.String()
}

// TestReadmeExample: the hexdump in the README is what the code writes and reads.
func TestReadmeExample(t *testing.T) {
	object, parts := exampleObject(t)
	if _, _, err := Open(object); err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- example: go test ./kfs -update writes it -->\n```\n", "```\n<!-- end of example -->"
	before, rest, ok := strings.Cut(string(readme), begin)
	dump, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("README.md has no example")
	}
	want := annotate(t, object, parts)
	if *update {
		writeFile(t, "README.md", []byte(before+begin+want+end+after))
		dump = want
	}
	if dump != want {
		t.Errorf("the README's example is not what the code writes:\n%s", want)
	}
}

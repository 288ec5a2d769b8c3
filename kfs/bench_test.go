package kfs

import (
	"fmt"
	"testing"
)

// benchmarkManifest has n partitions of ten topics, each with a body of size bytes and batches of two producers.
func benchmarkManifest(n, size int) (*Manifest, [][]byte) {
	m := &Manifest{Sequence: 1, Epoch: 1, Writer: WriterID{1}}
	bodies := make([][]byte, n)
	for i := range n {
		topic := i * 10 / n
		m.Segments = append(m.Segments, Segment{
			Topic: sampleID(byte(topic + 1)), Name: fmt.Sprintf("topic-%d", topic), Partition: int32(i), Span: Span{1000, 2000}, Records: 1000,
			Producers: []ProducerBatch{{ProducerID: 1, BaseOffset: 1000, LastOffset: 1499}, {ProducerID: 2, BaseOffset: 1500, LastOffset: 1999}},
		})
		bodies[i] = make([]byte, size)
	}
	return m, bodies
}

func BenchmarkSeal(b *testing.B) {
	m, bodies := benchmarkManifest(8, 1<<20)
	b.SetBytes(8 << 20)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Seal(m, bodies); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	m, bodies := benchmarkManifest(8, 1<<20)
	object, _, err := Seal(m, bodies)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(object)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Open(object); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenTail(b *testing.B) {
	for _, n := range []int{8, 1000} {
		b.Run(fmt.Sprintf("partitions=%d", n), func(b *testing.B) {
			m, bodies := benchmarkManifest(n, 1)
			object, _, err := Seal(m, bodies)
			if err != nil {
				b.Fatal(err)
			}
			tail := object[m.end():]
			b.SetBytes(int64(len(tail)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, _, err := OpenTail(tail, int64(len(object))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCheckpoint(b *testing.B) {
	m, bodies := benchmarkManifest(8, 1)
	object, crc, err := Seal(m, bodies)
	if err != nil {
		b.Fatal(err)
	}
	c := &Checkpoint{Sequence: 1000, Writer: WriterID{1}}
	for i := range 1000 {
		c.Partitions = append(c.Partitions, PartitionState{Topic: sampleID(1), Name: "topic", Partition: int32(i), Next: 1 << 30})
		o := Object{Sequence: uint64(i), CRC: crc, Size: int64(len(object)), Segments: make([]Segment, len(m.Segments))}
		copy(o.Segments, m.Segments)
		for j := range o.Segments {
			o.Segments[j].Producers = nil
		}
		c.Objects = append(c.Objects, o)
	}
	encoded, err := EncodeCheckpoint(c)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(int64(len(encoded)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := EncodeCheckpoint(c); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(int64(len(encoded)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := DecodeCheckpoint(encoded); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkOpenSegment(b *testing.B) {
	object, _ := sampleSegment(b)
	b.SetBytes(int64(len(object)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := OpenSegment(object); err != nil {
			b.Fatal(err)
		}
	}
}

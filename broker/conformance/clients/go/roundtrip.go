package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The round trip: these many records of each codec, of which the first member of the group reads and commits so many.
const (
	partitions = 3
	each       = 40
	first      = 70
)

var codecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// client is what a library must do for the round trip. Records have a header named codec.
type client interface {
	idempotent() bool
	create(ctx context.Context, topic string, partitions int) error
	// produce returns when all records are acknowledged.
	produce(ctx context.Context, topic, codec string, records []record) error
	// consume reads count records as a member of the group, commits them and leaves.
	consume(ctx context.Context, topic, group string, count int) ([]read, error)
	committed(ctx context.Context, topic, group string) (map[int32]int64, error)
	// refused says what a transactional producer is told; an error, where it is told nothing.
	refused(ctx context.Context, topic string) (string, error)
}

type record struct {
	key    string
	value  []byte // nil for the first one of each codec
	header string
}

type read struct {
	partition int32
	offset    int64
	record
}

func recordsOf(codec string) []record {
	records := make([]record, each)
	for i := range records {
		records[i] = record{key: fmt.Sprintf("%s-%d", codec, i), header: codec}
		if i > 0 {
			records[i].value = []byte(fmt.Sprintf("%s %d ", codec, i) + strings.Repeat("snow ", 40))
		}
	}
	return records
}

func roundTrip(ctx context.Context, c client, topic string) (string, error) {
	if err := c.create(ctx, topic, partitions); err != nil {
		return "", fmt.Errorf("create %s: %w", topic, err)
	}
	var want []record
	for _, codec := range codecs {
		if err := c.produce(ctx, topic, codec, recordsOf(codec)); err != nil {
			return "", fmt.Errorf("produce with %s: %w", codec, err)
		}
		want = append(want, recordsOf(codec)...)
	}
	group := topic + "-readers"
	var got []read
	for _, count := range []int{first, len(want) - first} {
		reads, err := c.consume(ctx, topic, group, count)
		if err != nil {
			return "", fmt.Errorf("consume %d records after %d: %w", count, len(got), err)
		}
		got = append(got, reads...)
	}
	ends, err := check(got, want)
	if err != nil {
		return "", err
	}
	committed, err := c.committed(ctx, topic, group)
	if err != nil {
		return "", fmt.Errorf("committed offsets: %w", err)
	}
	if !maps.Equal(committed, ends) {
		return "", fmt.Errorf("committed are %v, not %v", committed, ends)
	}
	refused, err := c.refused(ctx, topic)
	if err != nil {
		return "", fmt.Errorf("transactional producer: %w", err)
	}
	how := "five codecs"
	if c.idempotent() {
		how += ", idempotent"
	}
	return how + ", a group resumes; transactions: " + refused, nil
}

// check returns where the partitions end if the records read are those written, each once, at offsets without a gap.
func check(got []read, want []record) (map[int32]int64, error) {
	if len(got) != len(want) {
		return nil, fmt.Errorf("%d records of %d", len(got), len(want))
	}
	slices.SortFunc(want, func(a, b record) int { return cmp.Compare(a.key, b.key) })
	slices.SortFunc(got, func(a, b read) int { return cmp.Compare(a.key, b.key) })
	for i, g := range got {
		w := want[i]
		if g.key != w.key || g.header != w.header || string(g.value) != string(w.value) || (g.value == nil) != (w.value == nil) {
			return nil, fmt.Errorf("read %+v, want %+v", g, w)
		}
	}
	slices.SortFunc(got, func(a, b read) int { return cmp.Compare(a.offset, b.offset) })
	ends := map[int32]int64{}
	for _, g := range got {
		if g.offset != ends[g.partition] {
			return nil, fmt.Errorf("partition %d: offset %d after %d records", g.partition, g.offset, ends[g.partition])
		}
		ends[g.partition]++
	}
	return ends, nil
}

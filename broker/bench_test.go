package broker

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/lease"
	"github.com/firn-io/firn/kfs/record"
)

// discard is a store that keeps what is small, so that a benchmark measures the broker and not memory.
type discard struct{ blob.Store }

func (d discard) Put(ctx context.Context, key string, body []byte, ifAbsent bool) (blob.Info, error) {
	if len(body) > 64<<10 {
		body = nil
	}
	return d.Store.Put(ctx, key, body, ifAbsent)
}

// BenchmarkProduce is one connection that keeps 64 requests of one 512 KiB batch in flight, from the socket to the store, and back.
func BenchmarkProduce(b *testing.B) {
	for _, codec := range []record.Codec{record.None, record.LZ4, record.Zstd} {
		b.Run(codec.String(), func(b *testing.B) { benchmarkProduce(b, codec) })
	}
}

func benchmarkProduce(b *testing.B, codec record.Codec) {
	cfg := Config{Store: discard{blob.NewMemory(time.Now)}, Leases: lease.NewMemory().Service("", time.Second), Listen: "127.0.0.1:0", AutoCreate: true}
	r, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	defer func() { cancel(); <-done }()
	<-r.Ready()
	conn, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	create := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr("events")
	create.Topics = append(create.Topics, topic)
	create.AllowAutoTopicCreation = true
	if _, err := conn.Write(request(1, 9, create)); err != nil {
		b.Fatal(err)
	}
	skipAnswer(b, in)

	batch := record.Builder{Codec: codec}
	raw := 0
	for i := 0; raw < 512<<10; i++ {
		value := fmt.Appendf(nil, `{"id":%d,"name":"user-%d","at":"2026-11-22T10:00:%02dZ","score":%d.5,"note":"%s"}`, i, i*7919%1000, i%60, i%977, strings.Repeat(fmt.Sprint(i%31), 40))
		batch.Add(1_700_000_000_000+int64(i), fmt.Append(nil, i), value)
		raw += len(value) + 8
	}
	records, err := batch.AppendTo(nil)
	if err != nil {
		b.Fatal(err)
	}
	req := kmsg.NewPtrProduceRequest()
	req.Acks = -1
	part := kmsg.NewProduceRequestTopicPartition()
	part.Records = records
	req.Topics = append(req.Topics, kmsg.ProduceRequestTopic{Topic: "events", Partitions: []kmsg.ProduceRequestTopicPartition{part}})
	frame := request(2, 9, req)

	b.SetBytes(int64(raw))
	b.ReportAllocs()
	b.ResetTimer()
	const inFlight = 64
	for i := range b.N + inFlight {
		if i < b.N {
			if _, err := conn.Write(frame); err != nil {
				b.Fatal(err)
			}
		}
		if i >= inFlight {
			skipAnswer(b, in)
		}
	}
}

// BenchmarkFetch is one connection that reads 4 partitions of 4 MiB each from memory, over and over, 8 MiB at a time.
func BenchmarkFetch(b *testing.B) {
	cfg := Config{Store: blob.NewMemory(time.Now), Leases: lease.NewMemory().Service("", time.Second), Listen: "127.0.0.1:0", AutoCreate: true}
	r, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	defer func() { cancel(); <-done }()
	<-r.Ready()
	conn, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	ask := func(version int16, req kmsg.Request) {
		if _, err := conn.Write(request(1, version, req)); err != nil {
			b.Fatal(err)
		}
		skipAnswer(b, in)
	}
	create := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr("events")
	create.Topics, create.AllowAutoTopicCreation = append(create.Topics, topic), true
	ask(9, create)
	var batch record.Builder
	for i := 0; batch.Len() < 512; i++ {
		batch.Add(1_700_000_000_000+int64(i), nil, []byte(strings.Repeat(fmt.Sprint(i%31), 1024)))
	}
	records, err := batch.AppendTo(nil)
	if err != nil {
		b.Fatal(err)
	}
	const partitions, batches = 4, 8
	fetch := kmsg.NewPtrFetchRequest()
	fetch.MaxBytes, fetch.SessionEpoch = 8<<20, -1
	from := kmsg.NewFetchRequestTopic()
	from.Topic = "events"
	for p := range int32(partitions) {
		for range batches {
			req := kmsg.NewPtrProduceRequest()
			req.Acks = -1
			part := kmsg.NewProduceRequestTopicPartition()
			part.Partition, part.Records = p, records
			req.Topics = append(req.Topics, kmsg.ProduceRequestTopic{Topic: "events", Partitions: []kmsg.ProduceRequestTopicPartition{part}})
			ask(9, req)
		}
		part := kmsg.NewFetchRequestTopicPartition()
		part.Partition, part.PartitionMaxBytes, part.CurrentLeaderEpoch = p, 2<<20, -1
		from.Partitions = append(from.Partitions, part)
	}
	fetch.Topics = append(fetch.Topics, from)
	b.SetBytes(8 << 20)
	b.ReportAllocs()
	for b.Loop() {
		ask(12, fetch)
	}
}

func skipAnswer(b *testing.B, in *bufio.Reader) {
	var size [4]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		b.Fatal(err)
	}
	if _, err := in.Discard(int(binary.BigEndian.Uint32(size[:]))); err != nil {
		b.Fatal(err)
	}
}

package record

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The batches in testdata/batches were sent by clients that are not ours: franz-go and librdkafka (kcat). `go test -run Captured
// -update` captures them anew, for which kcat must be installed.
var update = flag.Bool("update", false, "capture testdata/batches from real clients")

const capturedMillis = 1_700_000_000_000

// capturedRecords are the records that the clients are given.
func capturedRecords() []*kgo.Record {
	at := time.UnixMilli(capturedMillis)
	records := []*kgo.Record{
		{Key: []byte("key"), Value: []byte("value"), Timestamp: at},
		{Value: []byte("no key"), Timestamp: at.Add(time.Second)},
		{Key: []byte("no value"), Timestamp: at.Add(-time.Hour)},
		{Key: []byte{}, Value: []byte{}, Timestamp: at},
		{Key: []byte("headers"), Value: []byte(strings.Repeat("long ", 1000)), Timestamp: at,
			Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte{0, 255, 10}}, {Key: "", Value: nil}, {Key: "empty", Value: []byte{}}}},
	}
	return records
}

const capturedByFranz = `0 @1700000000000 "key"="value"
1 @1700000001000 null="no key"
2 @1699996400000 "no value"=null
3 @1700000000000 ""=""
4 @1700000000000 "headers"="LONG" "trace":"\x00\xff\n" "":null "empty":""
`

const capturedByKcat = `0 @T "key"="value" "trace":"abc"
1 @T null="no key" "trace":"abc"
2 @T "headers"="LONG" "trace":"abc"
`

func TestCaptured(t *testing.T) {
	dir := filepath.Join("testdata", "batches")
	if *update {
		capture(t, dir)
	}
	var r Reader
	v := NewValidator(Limits{})
	for _, client := range []string{"franz", "kcat"} {
		for _, codec := range codecs {
			b, err := os.ReadFile(filepath.Join(dir, client+"-"+codec.String()))
			if err != nil {
				t.Fatal(err)
			}
			h, err := v.Validate(b, Rules{})
			if err != nil || h.Codec() != codec {
				t.Errorf("%s %s: codec %s, %v", client, codec, h.Codec(), err)
				continue
			}
			got, err := dump(&r, b)
			if err != nil {
				t.Errorf("%s %s: %v", client, codec, err)
			}
			got = strings.ReplaceAll(got, strings.Repeat("long ", 1000), "LONG")
			want := capturedByFranz
			if client == "kcat" {
				want = capturedByKcat // kcat takes the time of capturing
				got = regexp.MustCompile(`@\d{13} `).ReplaceAllString(got, "@T ")
			}
			if got != want {
				t.Errorf("%s %s:\n%s\nwant\n%s", client, codec, got, want)
			}
		}
	}
}

// capture lets franz-go and kcat produce to a broker that knows just enough to be sent a batch, and keeps the batches.
func capture(t *testing.T, dir string) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	batches := make(chan []byte, 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveProduce(c, batches) // ends with its client
		}
	}()
	defer func() { l.Close(); <-done }()
	addr := l.Addr().String()
	keep := func(name string) {
		select {
		case b := <-batches:
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: no batch came", name)
		}
	}
	franz := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	for i, codec := range codecs {
		cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic("t"), kgo.ProducerBatchCompression(franz[i]), kgo.ProducerLinger(50*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(context.Background(), capturedRecords()...).FirstErr(); err != nil {
			t.Fatalf("franz-go %s: %v", codec, err)
		}
		cl.Close()
		keep("franz-" + codec.String())

		kcat := exec.Command("kcat", "-P", "-b", addr, "-t", "t", "-p", "0", "-K", "|", "-z", codec.String(), "-H", "trace=abc", "-X", "linger.ms=200")
		kcat.Stdin = strings.NewReader("key|value\nno key\nheaders|" + strings.Repeat("long ", 1000) + "\n")
		if out, err := kcat.CombinedOutput(); err != nil {
			t.Fatalf("kcat %s: %v\n%s", codec, err, out)
		}
		keep("kcat-" + codec.String())
	}
}

// serveProduce answers a producer's requests on one connection and sends on what batches it gets.
func serveProduce(c net.Conn, batches chan<- []byte) {
	defer c.Close()
	host, port, _ := net.SplitHostPort(c.LocalAddr().String())
	for {
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(c, frame); err != nil {
			return
		}
		key, version := int16(binary.BigEndian.Uint16(frame)), int16(binary.BigEndian.Uint16(frame[2:]))
		id := frame[4:8]
		req := kmsg.RequestForKey(key)
		req.SetVersion(version)
		rest := frame[8:]
		if n := int16(binary.BigEndian.Uint16(rest)); n > 0 {
			rest = rest[n:]
		}
		if rest = rest[2:]; req.IsFlexible() {
			rest = rest[1:]
		}
		if err := req.ReadFrom(rest); err != nil {
			return
		}
		resp := answerProducer(req, host, port, batches)
		out := append([]byte{0, 0, 0, 0}, id...)
		if req.IsFlexible() && key != 18 {
			out = append(out, 0)
		}
		out = resp.AppendTo(out)
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

func answerProducer(req kmsg.Request, host, port string, batches chan<- []byte) kmsg.Response {
	resp := req.ResponseKind()
	switch req := req.(type) {
	case *kmsg.ApiVersionsRequest:
		if req.Version > 3 {
			req.SetVersion(0)
			resp = req.ResponseKind()
			resp.(*kmsg.ApiVersionsResponse).ErrorCode = 35
		}
		// librdkafka sends record batches and their newer codecs only to a broker that also has fetching and groups.
		for key, max := range map[int16]int16{0: 9, 1: 11, 3: 9, 10: 2, 18: 3, 22: 4} {
			v := resp.(*kmsg.ApiVersionsResponse)
			v.ApiKeys = append(v.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: key, MaxVersion: max})
		}
	case *kmsg.MetadataRequest:
		v := resp.(*kmsg.MetadataResponse)
		n, _ := net.LookupPort("tcp", port)
		v.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: host, Port: int32(n)}}
		name := "t"
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Leader, p.Replicas, p.ISR = 1, []int32{1}, []int32{1}
		v.Topics = []kmsg.MetadataResponseTopic{{Topic: &name, TopicID: [16]byte{1}, Partitions: []kmsg.MetadataResponseTopicPartition{p}}}
	case *kmsg.InitProducerIDRequest:
		resp.(*kmsg.InitProducerIDResponse).ProducerID = 7
	case *kmsg.ProduceRequest:
		batches <- bytes.Clone(req.Topics[0].Partitions[0].Records)
		p := kmsg.NewProduceResponseTopicPartition()
		t := kmsg.NewProduceResponseTopic()
		t.Topic, t.Partitions = req.Topics[0].Topic, []kmsg.ProduceResponseTopicPartition{p}
		resp.(*kmsg.ProduceResponse).Topics = []kmsg.ProduceResponseTopic{t}
	}
	return resp
}

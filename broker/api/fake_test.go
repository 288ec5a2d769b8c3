package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
)

// fake is a Backend in memory: a cluster of this broker (7) and another (8), and journal 0, which this one owns. Journal 1 is the
// other's.
type fake struct {
	backend *Backend
	nextID  atomic.Int32
	apis    func() *Registry

	mu       sync.Mutex // guards all below
	state    *metadata.State
	producer int64
	logs     map[kfs.PartitionID]*fakeLog
	watches  map[chan<- struct{}][]kfs.PartitionID
	trimmed  int           // trims that were taken
	looks    int           // calls of Offsets
	held     chan struct{} // if set, appends are done when it is closed
	appended []string      // topic names, in order of Append
	failing  error         // of every append
	conflict int           // changes that another change comes before
	passed   error         // of Serving

	forward func(kmsg.Request) (kmsg.Response, error) // at another controller; nil: the controller is here

	producers []journal.ActiveProducer // of every partition
}

type fakeLog struct {
	start   int64
	batches [][]byte
}

func (l *fakeLog) next() int64 {
	if len(l.batches) == 0 {
		return l.start
	}
	h, _ := record.ParseHeader(l.batches[len(l.batches)-1])
	return h.LastOffset() + 1
}

const fakeEpoch = 5

func newFake(t *testing.T, topics ...kfs.Topic) *fake {
	t.Helper()
	f := &fake{state: new(metadata.State), logs: map[kfs.PartitionID]*fakeLog{}, watches: map[chan<- struct{}][]kfs.PartitionID{}}
	f.apply(t, metadata.Bootstrap(kfs.ClusterID{1}, kfs.TopicID{2}, 2)...)
	for _, topic := range topics {
		f.apply(t, topic)
	}
	f.backend = &Backend{
		Cluster: f, Journals: f, Controller: f, ProducerIDs: f, Forwarder: f, AutoCreate: true,
		Clock: func() int64 { return 1_700_000_000_000 }, NewID: f.newID, NewSessionID: f.nextSession, Log: slog.New(slog.DiscardHandler),
	}
	f.apis = sync.OnceValue(func() *Registry { return NewRegistry(f.backend.APIs()...) })
	return f
}

// topic is a topic of n partitions on journal 0.
func topic(id byte, name string, n int, configs ...kfs.Config) kfs.Topic {
	return kfs.Topic{ID: kfs.TopicID{id}, Name: name, State: kfs.TopicLive, Journals: make([]uint32, n), Configs: configs}
}

func (f *fake) Forward(_ context.Context, req kmsg.Request) (kmsg.Response, bool, error) {
	if f.forward == nil {
		return nil, true, nil
	}
	resp, err := f.forward(req)
	return resp, false, err
}

func (f *fake) apply(t *testing.T, entries ...kfs.Entry) {
	t.Helper()
	for _, e := range entries {
		d := f.state.Edit()
		if err := d.Apply(e); err != nil {
			t.Fatal(err)
		}
		f.state = d.State()
	}
}

func (f *fake) newID() kfs.TopicID {
	return kfs.TopicID{100, byte(f.nextID.Add(1))}
}

func (f *fake) nextSession() int32 { return f.nextID.Add(1) }

func (f *fake) State() *metadata.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}
func (f *fake) Self() Broker { return Broker{7, "seven", 9092} }
func (f *fake) Brokers() []Broker {
	return []Broker{f.Self(), {8, "eight", 9093}}
}
func (f *fake) Owner(number uint32) (Owner, bool) {
	return Owner{Broker: 7 + int32(number), Epoch: fakeEpoch}, number < 2
}
func (f *fake) Journal(number uint32) (Journal, error) {
	if number != 0 {
		return nil, journal.ErrNotOwner
	}
	return f, nil
}
func (f *fake) Epoch() int32 { return fakeEpoch }
func (f *fake) Serving() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.passed
}
func (f *fake) Producers(kfs.PartitionID) []journal.ActiveProducer { return f.producers }
func (f *fake) Next(context.Context) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.producer++
	return f.producer, nil
}

func (f *fake) Change(_ context.Context, plan func(*metadata.State) ([]kfs.Entry, error)) error {
	f.mu.Lock()
	for ; f.conflict > 0; f.conflict-- {
		s := f.state
		f.mu.Unlock()
		if _, err := plan(s); err != nil {
			return err
		}
		f.mu.Lock()
	}
	defer f.mu.Unlock()
	entries, err := plan(f.state)
	if err != nil {
		return err
	}
	for _, e := range entries {
		d := f.state.Edit()
		if err := d.Apply(e); err != nil {
			return err
		}
		f.state = d.State()
	}
	return nil
}

type fakeAppend struct {
	held    <-chan struct{}
	results []journal.Result
}

func (a *fakeAppend) Wait() []journal.Result {
	if a.held != nil {
		<-a.held
	}
	return a.results
}

func (f *fake) Append(batches []journal.Batch) Append {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := &fakeAppend{held: f.held}
	for _, b := range batches {
		f.appended = append(f.appended, b.Name)
		id := kfs.PartitionID{Topic: b.Topic, Partition: b.Partition}
		l := f.log(id)
		if f.failing != nil {
			a.results = append(a.results, journal.Result{Base: -1, AppendTime: -1, Err: f.failing})
			continue
		}
		records := bytes.Clone(b.Records)
		result := journal.Result{Base: l.next(), LogStart: l.start, AppendTime: -1}
		record.Stamp(records, result.Base, fakeEpoch)
		if b.AppendTime {
			result.AppendTime = 1_800_000_000_000
			record.StampAppendTime(records, result.AppendTime)
		}
		l.batches = append(l.batches, records)
		a.results = append(a.results, result)
		f.wake(id)
	}
	return a
}

func (f *fake) Trim(trim kfs.Trim) Append {
	f.mu.Lock()
	defer f.mu.Unlock()
	result := journal.Result{Base: -1, AppendTime: -1, Err: f.failing}
	id := kfs.PartitionID{Topic: trim.Topic, Partition: trim.Partition}
	l := f.log(id)
	switch {
	case result.Err != nil:
	case trim.LogStart > l.next():
		result.Err = journal.ErrOffsetOutOfRange
	default:
		f.trimmed++
		l.start = max(l.start, trim.LogStart)
		f.wake(id)
	}
	return &fakeAppend{held: f.held, results: []journal.Result{result}}
}

func (f *fake) log(id kfs.PartitionID) *fakeLog {
	if f.logs[id] == nil {
		f.logs[id] = new(fakeLog)
	}
	return f.logs[id]
}

func (f *fake) wake(id kfs.PartitionID) {
	for c, ids := range f.watches {
		for _, watched := range ids {
			if watched == id {
				select {
				case c <- struct{}{}:
				default:
				}
			}
		}
	}
}

func (f *fake) Offsets(id kfs.PartitionID) (start, next int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks++
	l := f.log(id)
	return l.start, l.next()
}

func (f *fake) after(id kfs.PartitionID, offset int64) [][]byte {
	l := f.log(id)
	for i, b := range l.batches {
		if h, _ := record.ParseHeader(b); h.LastOffset() >= offset {
			return l.batches[i:]
		}
	}
	return nil
}

func (f *fake) Available(id kfs.PartitionID, offset int64) (n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.after(id, offset) {
		n += int64(len(b))
	}
	return n
}

func (f *fake) Read(_ context.Context, id kfs.PartitionID, offset, maxBytes int64) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []byte
	for i, b := range f.after(id, offset) {
		if i > 0 && int64(len(out)+len(b)) > maxBytes {
			break
		}
		out = append(out, b...)
	}
	return out, nil
}

func (f *fake) Watch(ids []kfs.PartitionID, wake chan<- struct{}) (stop func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watches[wake] = ids
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watches, wake)
	}
}

func (f *fake) OffsetFor(_ context.Context, id kfs.PartitionID, timestamp int64) (offset, at int64, ok bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.log(id).batches {
		var r record.Reader
		if err := r.Reset(b, record.DecompressedBytes); err != nil {
			return 0, 0, false, err
		}
		var rec record.Record
		for {
			ok, err := r.Next(&rec)
			if err != nil || !ok {
				break
			}
			if rec.Timestamp >= timestamp {
				return rec.Offset, rec.Timestamp, true, nil
			}
		}
	}
	return 0, 0, false, nil
}

func (f *fake) MaxTimestamp(id kfs.PartitionID) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	latest := int64(-1)
	for _, b := range f.log(id).batches {
		h, _ := record.ParseHeader(b)
		latest = max(latest, h.MaxTimestamp)
	}
	return latest
}

// call sends a request through its API, encoded and decoded as on the wire, and gives the answer, encoded and decoded likewise.
func (f *fake) call(t *testing.T, version int16, req kmsg.Request) kmsg.Response {
	t.Helper()
	resp, err := f.begin(t, version, req)(t.Context())
	if err != nil {
		t.Fatalf("%s v%d: %v", kmsg.NameForKey(req.Key()), version, err)
	}
	return overTheWire(t, resp)
}

func overTheWire(t *testing.T, resp kmsg.Response) kmsg.Response {
	t.Helper()
	back := kmsg.ResponseForKey(resp.Key())
	back.SetVersion(resp.GetVersion())
	if err := back.ReadFrom(resp.AppendTo(nil)); err != nil {
		t.Fatalf("%s v%d: %v", kmsg.NameForKey(resp.Key()), resp.GetVersion(), err)
	}
	return back
}

// begin starts a request.
func (f *fake) begin(t *testing.T, version int16, req kmsg.Request) Finish {
	t.Helper()
	req.SetVersion(version)
	body := req.AppendTo(nil)
	if _, err := Check(req.Key(), version, req.IsFlexible(), body); err != nil {
		t.Fatalf("%s v%d: %v", kmsg.NameForKey(req.Key()), version, err)
	}
	sent := kmsg.RequestForKey(req.Key())
	sent.SetVersion(version)
	if err := sent.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	a, ok := f.apis().Lookup(req.Key())
	if !ok || version > a.Max {
		t.Fatalf("%s v%d is not served", kmsg.NameForKey(req.Key()), version)
	}
	earlier := make(chan struct{})
	close(earlier)
	return a.Start(t.Context(), &Request{Body: sent, Earlier: earlier})
}

// batch is a record batch of values, a millisecond apart.
func batch(t *testing.T, codec record.Codec, values ...string) []byte {
	t.Helper()
	b := record.Builder{Codec: codec}
	for i, v := range values {
		b.Add(1_600_000_000_000+int64(i), nil, []byte(v))
	}
	out, err := b.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// withAttributes is a batch with other attributes, under a right checksum.
func withAttributes(b []byte, attributes uint16) []byte {
	b = bytes.Clone(b)
	binary.BigEndian.PutUint16(b[21:], attributes)
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// with is a batch with one byte changed.
func with(b []byte, at int, to byte) []byte {
	b = bytes.Clone(b)
	b[at] = to
	return b
}

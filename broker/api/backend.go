package api

import (
	"context"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// Backend is what the handlers of topics and records stand on. All fields must be set but the numbers.
type Backend struct {
	Cluster     Cluster
	Journals    Journals
	Controller  Controller
	ProducerIDs ProducerIDs
	Forwarder   Forwarder

	Partitions int32 // of a topic whose creator does not say how many; default 4
	AutoCreate bool  // a topic that a client asks for by name is created
	FetchBytes int64 // the most that one fetch answers, beyond a first batch; default 50 MiB
	// SessionBytes is the memory for fetch sessions; default 4 MiB.
	SessionBytes int64
	LogDir       string // what people call the store; default "store"
	// Throttle is how long producers are asked to wait before their next request; nil never asks.
	Throttle     func() time.Duration
	Clock        func() int64 // Unix milliseconds
	NewID        func() kfs.TopicID
	NewSessionID func() int32 // a random number, of which those above 0 are used
	Log          *slog.Logger
}

const (
	defaultPartitions = 4
	defaultFetchBytes = 50 << 20
	defaultLogDir     = "store"
)

// Cluster is the cluster as this broker sees it: journal 0's state, the live brokers, and who owns which journal.
type Cluster interface {
	// State is journal 0's state; it does not change.
	State() *metadata.State
	// Self is this broker.
	Self() Broker
	// Brokers are the live brokers, in order of id.
	Brokers() []Broker
	// Owner is who owns a journal now, if anybody does.
	Owner(journal uint32) (Owner, bool)
}

// Broker is a live broker and where clients reach it.
type Broker struct {
	ID   int32
	Host string
	Port int32
}

// Owner is a broker that owns a journal. Kafka calls it the leader of the journal's partitions.
type Owner struct {
	Broker int32
	Epoch  int32 // Kafka's leader epoch; -1 if not known here
}

// Journals finds the journals that this broker owns.
type Journals interface {
	// Journal is one of them. The error is journal.ErrNotOwner if another broker, or none, owns it.
	Journal(number uint32) (Journal, error)
}

// Journal is the log of the partitions that lie on one journal. Methods give journal.ErrNotOwner once it has gone to another broker.
type Journal interface {
	Writer
	Reader
	Searcher
	// Producers are the idempotent producers that a partition knows, in order of id.
	Producers(id kfs.PartitionID) []journal.ActiveProducer
	// Epoch is the owner's epoch.
	Epoch() int32
	// Serving is journal.ErrNotOwner if the lease has passed: then what was read may be stale. It is asked when an answer is built.
	Serving() error
}

// Writer appends.
type Writer interface {
	// Append enqueues batches, in order, and does not block. It owns the records' bytes until the append is done.
	Append(batches []journal.Batch) Append
	// Trim enqueues a move of a partition's log start, and does not block. It has one result: journal.ErrOffsetOutOfRange for an
	// offset behind the end. A log start never moves back.
	Trim(trim kfs.Trim) Append
}

// Append is an append under way.
type Append interface {
	// Wait blocks until everything is durable or refused, and gives one result for each batch, in order, or for the trim.
	Wait() []journal.Result
}

// Reader reads whole batches.
type Reader interface {
	// Offsets are the log start and the next offset of a partition: 0 and 0 if it has no records yet.
	Offsets(id kfs.PartitionID) (start, next int64)
	// Available is the number of bytes from the batch that holds offset to the end. It may be an estimate, but is 0 only at the end.
	Available(id kfs.PartitionID, offset int64) int64
	// Read gives batches back to back, beginning with the one that holds offset: as many as maxBytes allow, but one at least.
	// At the end there are none. journal.ErrOffsetOutOfRange tells of an offset outside of [start, next]. The bytes must not be changed.
	Read(ctx context.Context, id kfs.PartitionID, offset, maxBytes int64) ([]byte, error)
	// Watch sends to wake, without ever blocking, whenever one of the partitions has changed or the journal has stopped.
	Watch(ids []kfs.PartitionID, wake chan<- struct{}) (stop func())
}

// Searcher finds offsets by time.
type Searcher interface {
	// OffsetFor is the first record that is not before a time, and its own time, both in Unix milliseconds; ok is false if there is none.
	OffsetFor(ctx context.Context, id kfs.PartitionID, timestamp int64) (offset, at int64, ok bool, err error)
	// MaxTimestamp is the latest time of any record, -1 if there is none.
	MaxTimestamp(id kfs.PartitionID) int64
}

// Controller changes journal 0's state.
type Controller interface {
	// Change makes a change durable: it appends what plan makes of the present state, and returns when the state shows it. Where
	// another change comes first, plan is called again with the newer state. Errors are those of plan, ErrNotController and
	// journal.ErrUnavailable. No entries are no change.
	Change(ctx context.Context, plan func(*metadata.State) ([]kfs.Entry, error)) error
}

// ProducerIDs hands out producer ids.
type ProducerIDs interface {
	// Next is an id that nobody else has or had. Errors are those of a Controller.
	Next(ctx context.Context) (int64, error)
}

// APIs are the APIs of topics and records over a backend.
func (b *Backend) APIs() []API {
	if b.Partitions <= 0 {
		b.Partitions = defaultPartitions
	}
	if b.FetchBytes <= 0 {
		b.FetchBytes = defaultFetchBytes
	}
	if b.SessionBytes <= 0 {
		b.SessionBytes = defaultSessionBytes
	}
	if b.LogDir == "" {
		b.LogDir = defaultLogDir
	}
	return []API{
		produce(b), fetch(b), listOffsets(b), metadataAPI(b), createTopics(b), deleteTopics(b), deleteRecords(b),
		initProducerID(b), offsetForLeaderEpoch(b), describeConfigs(b), alterConfigs(b), createPartitions(b), incrementalAlterConfigs(b),
		describeCluster(b), describeTopicPartitions(b), describeProducers(b), describeLogDirs(b), electLeaders(b), listPartitionReassignments(),
		describeACLs(), createACLs(), deleteACLs(),
	}
}

// partition is one partition that a request names, resolved.
type partition struct {
	id      kfs.PartitionID
	topic   *metadata.Topic
	journal Journal // nil unless this broker owns it
	owner   Owner
}

// byName finds a live topic.
func byName(s *metadata.State, name string) (*metadata.Topic, error) {
	if t, ok := s.Topic(name); ok && t.State == kfs.TopicLive {
		return t, nil
	}
	return nil, errUnknownTopic
}

// byValidName is byName for the APIs that say, as Kafka's do, that no topic can have a name: those that describe topics or change their configs.
func byValidName(s *metadata.State, name string) (*metadata.Topic, error) {
	t, err := byName(s, name)
	if err == nil {
		return t, nil
	}
	if invalid := kfs.ValidateTopicName(name); invalid != nil {
		return nil, errInvalidTopic{invalid}
	}
	return nil, err
}

// byID finds a live topic.
func byID(s *metadata.State, id kfs.TopicID) (*metadata.Topic, error) {
	if t, ok := s.TopicByID(id); ok && t.State == kfs.TopicLive {
		return t, nil
	}
	return nil, errUnknownTopicID
}

// partition resolves a partition and checks that this broker is its leader. The owner is given also
// beside journal.ErrNotOwner, if there is one.
func (b *Backend) partition(t *metadata.Topic, number int32) (partition, error) {
	p := partition{id: kfs.PartitionID{Topic: t.ID, Partition: number}, topic: t, owner: Owner{Broker: -1, Epoch: -1}}
	j, ok := t.Journal(number)
	if !ok {
		return p, errUnknownTopic
	}
	if owner, ok := b.Cluster.Owner(j); ok {
		p.owner = owner
	}
	var err error
	if p.journal, err = b.Journals.Journal(j); err != nil {
		return p, err
	}
	p.owner = Owner{Broker: b.Cluster.Self().ID, Epoch: p.journal.Epoch()}
	return p, nil
}

// checkEpoch compares the leader epoch that a client believes in, if it says one, with the leader's.
func (p *partition) checkEpoch(believed int32) error {
	switch {
	case believed < 0 || believed == p.owner.Epoch:
		return nil
	case believed < p.owner.Epoch:
		return errFencedEpoch
	default:
		return errUnknownEpoch
	}
}

// endpoints are where the brokers that answers point to are reached.
func (b *Backend) endpoints(leaders map[int32]bool) []Broker {
	var found []Broker
	for _, n := range b.Cluster.Brokers() {
		if leaders[n.ID] {
			found = append(found, n)
		}
	}
	return found
}

// message is an error's text for an answer; nil if there is none.
func message(err error) *string {
	if err == nil {
		return nil
	}
	return kmsg.StringPtr(err.Error())
}

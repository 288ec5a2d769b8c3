package differential

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Sequence is what a seed makes: the same for every server.
type Sequence struct {
	Seed  uint64
	Steps []Step
}

// Step is one request of a sequence, or half of one.
type Step struct {
	Text  string // for people: what is asked
	Tag   string // what makes it special, for explanations; mostly empty
	Actor int    // which connection it is on
	Kind  Kind

	key, version int16

	Build func(*Side) kmsg.Request         // the request for this server
	Learn func(*Side, kmsg.Response)       // takes from the answer what later steps need; may be nil
	Until func(kmsg.Response) bool         // the step is repeated until this is true; nil for once
	Then  func(*Side) func() (bool, error) // gives what has to become true before the next step; may be nil
}

// Kind says which halves of a request a step is.
type Kind int

// The kinds. What a server answers late, because others have to do something first, is sent in one step and received in a later one.
const (
	Call Kind = iota
	Send
	Receive
)

// Side is one server's side of a sequence: what the names in the sequence mean there.
type Side struct {
	server *Server
	prefix string // of topics and groups, so that sequences do not meet
	base   int64  // Unix milliseconds that the sequence's times are relative to
	conns  map[int]*conn

	topicIDs    map[string][16]byte  // by the sequence's name
	members     map[string]string    // member ids
	generations map[string]int32     // of groups, by member
	producers   map[string]*producer // by the sequence's name
	sessions    map[string]int32     // fetch sessions
	expect      map[string]int       // partitions of the topics that have to be there, 0 of those that must not
	starts      map[string]int64     // where partitions start, by the sequence's name
	epochs      map[string]int32     // of partitions' leaders, by the sequence's name
	markers     int                  // how many were set
}

// producer is an idempotent producer on one server.
type producer struct {
	id    int64
	epoch int16
}

func (s *Side) topic(name string) string { return s.name(name) }
func (s *Side) group(name string) string { return s.name(name) }

// name is the name that something of the sequence has on servers. Those that begin with = are meant as they are.
func (s *Side) name(name string) string {
	if name == "" || name[0] == '=' {
		return name[min(1, len(name)):]
	}
	return s.prefix + name
}

// id is a topic's id. A topic that never was has one that no server knows.
func (s *Side) id(name string) [16]byte {
	if id, ok := s.topicIDs[name]; ok {
		return id
	}
	id := [16]byte{0xde, 0xad, 0xbe, 0xef}
	binary.BigEndian.PutUint32(id[12:], crc32.ChecksumIEEE([]byte(name)))
	return id
}

func (s *Side) conn(actor int) *conn {
	if s.conns[actor] == nil {
		s.conns[actor] = &conn{addr: s.server.Addr}
	}
	return s.conns[actor]
}

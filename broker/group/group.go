// Package group coordinates consumer groups: who is in a group, who reads what, and what has been committed.
//
// A Group is a pure state machine: Step takes the time and an event and gives effects, without I/O, clock, goroutine or randomness.
// The same events give the same effects, so its behaviour is written down as scripts in testdata. It speaks one of two protocols:
//
//   - classic (JoinGroup, SyncGroup, Heartbeat, LeaveGroup): members stop together, and one of them assigns.
//   - consumer (ConsumerGroupHeartbeat, KIP-848): the coordinator assigns, and each member goes on at its own pace from what it has to
//     what it is to have. A partition is given to a member only when whoever had it has said that it has let go, or has been shut out.
//
// A group without members takes the protocol of the first that joins. A group that has members keeps its protocol, and those who
// speak the other one are refused: there is no migration of a group that runs.
//
// A Coordinator is the thin shell for the groups of one journal: it hands events to groups, answers to those who wait, and committed
// offsets to the journal. Only offsets are durable. Members are not: after a takeover groups are empty, members learn so from
// UNKNOWN_MEMBER_ID and join again, as clients of Kafka do. Until its next heartbeat says so to a member, it may read on beside another
// that was given its partitions; what it commits then is refused. A group that has only offsets is shown as classic.
package group

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Config is what a group needs to know. A zero means the default.
type Config struct {
	// InitialDelay is how long an empty group waits for more members once the first has come, so that members that start together
	// are not rebalanced one by one; each that comes extends it, up to the rebalance timeout. Default 100 ms. Kafka's own default is
	// 3 s, which every start of a single consumer then pays; since the delay is extended, a short one serves many members as well.
	InitialDelay time.Duration
	// OffsetRetention is how long the offsets of a group without members are kept. Default 7 days, as Kafka.
	OffsetRetention time.Duration
	// Session is how long a member of the consumer protocol may be silent. Default 45 s, as Kafka.
	Session time.Duration
	// Interval is how often a member of the consumer protocol is to send a heartbeat. Default 5 s, as Kafka.
	Interval time.Duration
}

// Validate reports everything that is wrong with the config.
func (c Config) Validate() error {
	var errs []error
	for _, d := range []struct {
		name string
		time.Duration
	}{{"initial delay", c.InitialDelay}, {"offset retention", c.OffsetRetention}, {"session timeout", c.Session}, {"heartbeat interval", c.Interval}} {
		if d.Duration < 0 {
			errs = append(errs, fmt.Errorf("groups: the %s %v is negative", d.name, d.Duration))
		}
	}
	if full := c.withDefaults(); full.Interval >= full.Session {
		errs = append(errs, fmt.Errorf("groups: the heartbeat interval %v is not below the session timeout %v", full.Interval, full.Session))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	c.InitialDelay = cmp.Or(c.InitialDelay, 100*time.Millisecond)
	c.OffsetRetention = cmp.Or(c.OffsetRetention, 7*24*time.Hour)
	c.Session = cmp.Or(c.Session, 45*time.Second)
	c.Interval = cmp.Or(c.Interval, 5*time.Second)
	return c
}

// What one group may hold. The session timeouts are Kafka's defaults; Kafka bounds neither members nor bytes, but a coordinator that
// holds what strangers send must.
const (
	MinSession   = 6 * time.Second
	MaxSession   = 30 * time.Minute
	MaxMembers   = 5000     // with those that were given an id and have not come back yet
	MaxProtocols = 50       // of one member; clients have one to three
	MaxBytes     = 16 << 20 // of what the members say, and as much again of what they are assigned
)

// minRebalance is how long a rebalance may take at least, whatever a member asks for: without it a group whose static members are all
// away would begin one rebalance after the other without a pause.
const minRebalance = time.Second

// newMemberWait is how long a new member may wait for its first rebalance to end: it may be gone, and sends no heartbeats meanwhile.
const newMemberWait = 5 * time.Minute

// State is where a group is in its life, by Kafka's names.
type State string

// The states of a group.
const (
	Empty               State = "Empty"               // no members, maybe offsets
	PreparingRebalance  State = "PreparingRebalance"  // members join
	CompletingRebalance State = "CompletingRebalance" // the leader assigns
	Stable              State = "Stable"              // everyone has been assigned
	Dead                State = "Dead"                // not a group any more

	Assigning   State = "Assigning"   // of the consumer protocol: what its members are to have is not decided yet
	Reconciling State = "Reconciling" // of the consumer protocol: members are on their way to what they are to have
)

// Type is the protocol that a group speaks, by Kafka's names.
type Type string

// The types of groups.
const (
	Classic  Type = "classic"
	Consumer Type = "consumer"
)

// Group is one consumer group of either protocol. It is not for concurrent use.
type Group struct {
	cfg Config
	protocol
}

// protocol is a group that speaks one of the protocols: *classic or *consumer.
type protocol interface {
	// Step takes an event and gives its effects in order. The slice is valid until the next Step. After each Step, Next says when a
	// Tick is due.
	Step(now time.Time, ev Event) []Effect
	// Next is the time at which the group wants a Tick; zero if at none.
	Next() time.Time
	// Bytes is the memory that the members take, about.
	Bytes() int
	// State is where the group is in its life.
	State() State
	// Ended reports whether the group is dead.
	Ended() bool
	// Idle reports whether the group has no members and expects none: without offsets there is nothing to remember of it.
	Idle() bool
	// Since is when an idle group lost its last member, or the last commit to it.
	Since() time.Time
	// Kind is the group's type, and the protocol type of its members; "" if that is not known.
	Kind() (t Type, protocolType string)
	// MayFetch reports whether a member, by its id and epoch, may have the offsets; "" and -1 for who is none.
	MayFetch(memberID string, epoch int32) *kerr.Error
	// Subscribed reports whether a member may read the topic.
	Subscribed(topic string) bool
}

// reads reports whether the members are consumers: their topics can be known.
func (g *Group) reads() bool {
	_, protocolType := g.Kind()
	return protocolType == "consumer"
}

// New makes an empty group. Its offsets, if it has any, are kept for the retention time from now on.
func New(now time.Time, cfg Config) *Group {
	cfg = cfg.withDefaults()
	return &Group{cfg, newClassic(now, cfg)}
}

// Step takes an event and gives its effects in order. The slice is valid until the next Step. After each Step, Next says when a Tick
// is due. A group without members becomes one of the protocol of a member that joins.
func (g *Group) Step(now time.Time, ev Event) []Effect {
	of, _ := g.Kind()
	switch ev := ev.(type) {
	case ConsumerHeartbeat:
		if of == Classic && ev.Epoch == epochJoin && g.State() == Empty && ev.check() == nil {
			g.protocol = newConsumer(g.Since(), g.cfg)
		}
	case Join:
		if of == Consumer && g.State() == Empty {
			g.protocol = newClassic(g.Since(), g.cfg)
		}
	}
	return g.protocol.Step(now, ev)
}

package cluster

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/lease"
)

// View is what one broker knows of its cluster, and what follows from it: who lives, who owns what, what is to be its own, and what the
// metadata is. It has no I/O, no clock and no lock: a Cluster guards one and feeds it, and a simulation drives many.
type View struct {
	self Broker
	log  *slog.Logger

	owned    map[uint32]Tenure
	brokers  []Broker             // by id
	reaches  map[int32]reach      // who has lost the object store, this broker included
	watched  bool                 // brokers is what the lease service said in this session
	owners   map[uint32]ownership // as the leases say
	ended    map[endedIn]bool     // as the lease service says
	state    *metadata.State      // of journal 0: what the follower last read, or the owner had
	sequence uint64               // of journal 0, that state is of
	read     bool                 // the follower has read to the end at least once
	tenures  int                  // how often this broker gained journal 0
}

// Tenure is a journal that a broker has, and the lease that says so.
type Tenure struct {
	Journal *journal.Journal
	Lease   interface{ Valid(now time.Time) bool } // a lease.Held
}

// NewView is the view of a broker that knows only itself.
func NewView(self Broker, log *slog.Logger) *View {
	return &View{self: self, log: log, owned: map[uint32]Tenure{}, brokers: []Broker{self}, reaches: map[int32]reach{}, owners: map[uint32]ownership{}, state: new(metadata.State)}
}

// Mine tells whether a journal is this broker's to own.
func (v *View) Mine(number uint32) bool {
	if !v.watched {
		return false
	}
	owners := place(v.eligible(), max(1, v.State().Cluster().Journals, number+1))
	return owners[number] == v.self.ID
}

// Gain notes that this broker has a journal from now on.
func (v *View) Gain(t Tenure) {
	if t.Journal.Number() == 0 {
		v.tenures++
	}
	v.owned[t.Journal.Number()] = t
}

// Lose notes that a journal is gone. What is known of the metadata stays.
func (v *View) Lose(number uint32) {
	t, here := v.owned[number]
	if number == 0 && here {
		v.state, v.sequence = t.Journal.State(), t.Journal.Sequence()
	}
	delete(v.owned, number)
}

// Journal is a journal that this broker owns, by a lease that is valid at now; else journal.ErrNotOwner.
func (v *View) Journal(number uint32, now time.Time) (*journal.Journal, error) {
	if t, ok := v.owned[number]; ok && t.Lease.Valid(now) {
		return t.Journal, nil
	}
	return nil, fmt.Errorf("journal %d: %w", number, journal.ErrNotOwner)
}

// Owner is the live broker that serves a journal, and its epoch. ok is false while nobody does, or nobody can tell.
func (v *View) Owner(number uint32, now time.Time) (owner Broker, epoch int32, ok bool) {
	if t, ok := v.owned[number]; ok && t.Lease.Valid(now) {
		return v.self, t.Journal.Epoch(), true
	}
	of, ok := v.owners[number]
	if !ok || of.epoch < 0 || of.broker == v.self.ID { // a lease of ours without the journal: it is being taken over, or has passed
		return Broker{}, -1, false
	}
	i := slices.IndexFunc(v.brokers, func(b Broker) bool { return b.ID == of.broker })
	if i < 0 {
		return Broker{}, -1, false
	}
	return v.brokers[i], of.epoch, true
}

// Brokers are the live brokers, this one included, by id. The slice must not be modified.
func (v *View) Brokers() []Broker { return v.brokers }

// State is the cluster's metadata: of journal 0 while that is here, else as the follower last read it.
func (v *View) State() *metadata.State {
	if t, ok := v.owned[0]; ok {
		return t.Journal.State()
	}
	return v.state
}

// StateAt is State, and a sequence of journal 0 that it is not newer than.
func (v *View) StateAt() (*metadata.State, uint64) {
	if t, ok := v.owned[0]; ok {
		state := t.Journal.State()
		return state, t.Journal.Sequence()
	}
	return v.state, v.sequence
}

// Tenures is how often this broker has gained journal 0.
func (v *View) Tenures() int { return v.tenures }

// News takes what a follower of journal 0 has read that was begun after so many tenures. What was begun before this broker had journal 0 itself may be
// older than what it knows since, and is not taken. It reports whether the view has changed.
func (v *View) News(tenures int, s *metadata.State, sequence uint64) bool {
	if v.tenures != tenures {
		return false
	}
	v.sequence = sequence
	if v.read && v.state == s {
		return false
	}
	v.state, v.read = s, true
	return true
}

// SessionLost forgets what the leases said: it is worth nothing any more. Where the others are is kept, for clients have nothing better.
func (v *View) SessionLost() { v.watched, v.owners, v.ended = false, map[uint32]ownership{}, nil }

// SeeBrokers takes the registrations that there are.
func (v *View) SeeBrokers(entries []lease.Entry) {
	brokers, reaches := []Broker{v.self}, map[int32]reach{v.self.ID: v.reaches[v.self.ID]}
	for _, e := range entries {
		var r registration
		if err := json.Unmarshal([]byte(e.Value), &r); err != nil {
			v.log.Warn("a broker's registration cannot be read", "key", e.Key, "err", err)
			continue
		}
		if r.ID != v.self.ID {
			brokers = append(brokers, r.Broker)
			reaches[r.ID] = r.Store
		}
	}
	slices.SortFunc(brokers, func(a, b Broker) int { return int(a.ID) - int(b.ID) })
	v.brokers, v.reaches, v.watched = brokers, reaches, true
}

// SeeOwners takes the leases of journals that there are.
func (v *View) SeeOwners(entries []lease.Entry) {
	owners := make(map[uint32]ownership, len(entries))
	for _, e := range entries {
		number, err := strconv.ParseUint(strings.TrimPrefix(e.Key, JournalsPrefix), 10, 32)
		o, oerr := parseOwnership(e.Value)
		if err != nil || oerr != nil {
			v.log.Warn("the lease of a journal cannot be read", "key", e.Key, "value", e.Value)
			continue
		}
		owners[uint32(number)] = o
	}
	v.owners = owners
}

// SeeEnded takes the notices of ended topics that there are.
func (v *View) SeeEnded(entries []lease.Entry) {
	ended := make(map[endedIn]bool, len(entries))
	for _, e := range entries {
		id, journal, _ := strings.Cut(strings.TrimPrefix(e.Key, EndedPrefix), "/")
		topic, err := kfs.ParseTopicID(id)
		number, nerr := strconv.ParseUint(journal, 10, 32)
		if err != nil || nerr != nil {
			v.log.Warn("a notice of a topic's end cannot be read", "key", e.Key)
			continue
		}
		ended[endedIn{topic, uint32(number)}] = true
	}
	v.ended = ended
}

// Ended tells whether a journal is known to have ended a topic.
func (v *View) Ended(topic kfs.TopicID, number uint32) bool { return v.ended[endedIn{topic, number}] }

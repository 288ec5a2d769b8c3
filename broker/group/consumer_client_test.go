package group

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/firn-io/firn/kfs"
	"github.com/twmb/franz-go/pkg/kerr"
)

// reader is a client of the consumer protocol as the model has it: it does what the coordinator says, not at once, and reads what it
// owns until it lets go of it.
type reader struct {
	id, instance string
	topics       []string
	regex        string
	assignor     string

	in     bool       // a member, as far as it knows
	epoch  int32      // 0 to join
	told   partitions // what it has been assigned
	owns   partitions // what it reads
	full   bool       // the next heartbeat says all, for an answer may have been lost
	said   partitions // what the last heartbeat that was answered said it owns
	silent bool       // it has crashed, or its network has
	// zombie: the coordinator has removed it, and it has not heard of that.
	zombie bool
}

// beat is the reader's next heartbeat.
func (r *reader) beat(rnd *rand.Rand) ConsumerHeartbeat {
	ev := ConsumerHeartbeat{MemberID: r.id, InstanceID: r.instance, Epoch: r.epoch, ClientID: "c", Host: "h"}
	if !r.in || r.full || rnd.IntN(8) == 0 {
		ev.Rebalance, ev.Topics, ev.Regex, ev.Assignor = rebalanceTime, slices.Clone(r.topics), &r.regex, r.assignor
	}
	if ev.Rebalance > 0 || !slices.Equal(r.owns, r.said) {
		ev.Owned = append([]kfs.PartitionID{}, r.owns...)
	}
	return ev
}

// answered takes the answer to a heartbeat. What it is to let go of it may read for some heartbeats more; only then does it take what
// is new.
func (r *reader) answered(rnd *rand.Rand, ev ConsumerHeartbeat, a Beaten, newID func() string) {
	switch a.Err {
	case nil:
	case kerr.UnknownMemberID:
		r.lost()
		r.id = newID()
		return
	case kerr.FencedMemberEpoch:
		r.lost()
		return
	default: // unreleased or fenced instance ids, and other protocols: it waits and tries again
		r.lost()
		r.id = newID()
		return
	}
	r.in, r.full, r.zombie, r.epoch = true, false, false, a.Epoch
	if ev.Owned != nil {
		r.said = slices.Clone(r.owns)
	}
	if a.Assigned {
		r.told = a.Assignment
	}
	if rnd.IntN(4) > 0 {
		r.owns = slices.Clone(r.told)
	}
}

// lost is how a client gives up what it had without being asked.
func (r *reader) lost() {
	r.in, r.full, r.zombie, r.epoch, r.told, r.owns, r.said = false, false, false, epochJoin, nil, nil, nil
}

func (r *reader) String() string {
	return fmt.Sprintf("%s/%s in=%v epoch=%d owns=%s told=%s zombie=%v", r.id, r.instance, r.in, r.epoch, describePartitions(r.owns), describePartitions(r.told), r.zombie)
}

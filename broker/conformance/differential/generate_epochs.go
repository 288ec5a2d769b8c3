package differential

import "fmt"

// epoch is a leader epoch that a client believes in. Each server counts its own, so that all but none and a far one are counted from the
// one that the server has told when the topic was made. There is none before that: a new topic of Kafka begins with 0.
type epoch int32

const (
	noEpoch   epoch = -1
	farEpoch  epoch = 1_000_000 // no leader has reached it
	ownEpoch  epoch = 1 << 30   // the leader's
	nextEpoch epoch = ownEpoch + 1
)

func (e epoch) String() string {
	switch e {
	case noEpoch:
		return "none"
	case farEpoch:
		return "far"
	case ownEpoch:
		return "own"
	case nextEpoch:
		return "next"
	}
	return fmt.Sprintf("epoch(%d)", int32(e))
}

// epoch is what an epoch is on this server.
func (s *Side) epoch(e epoch, topic string, partition int32) int32 {
	if e < ownEpoch {
		return int32(e)
	}
	return s.epochs[partitionName(topic, partition)] + int32(e-ownEpoch)
}

// partitionName is a partition as sequences call it.
func partitionName(topic string, partition int32) string { return fmt.Sprint(topic, "/", partition) }

// someEpoch is one that the leader takes, mostly.
func (g *generator) someEpoch() epoch {
	if g.maybe(10) {
		return of(g, nextEpoch, farEpoch)
	}
	return of(g, noEpoch, noEpoch, ownEpoch)
}

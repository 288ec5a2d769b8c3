package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Kafka keeps the offsets of groups in a topic, and creates it when a client first looks for a coordinator. Here they are elsewhere, but
// clients and tools know the topic by name, expect it where there are groups, and leave it out of what they list, mirror or match by a
// pattern. So it is here as well, created at the same moment, and stays empty. Only the broker could write to topics of these names, and
// it never does.
const (
	offsetsTopic      = "__consumer_offsets"
	transactionsTopic = "__transaction_state"
)

// offsetsTopicTimeout is how long a search for a coordinator waits for the topic at most: where there is no controller, groups whose
// coordinator lives go on.
const offsetsTopicTimeout = 2 * time.Second

func isInternal(topic string) bool { return topic == offsetsTopic || topic == transactionsTopic }

// notInternal refuses records for an internal topic.
func notInternal(topic string) error {
	if isInternal(topic) {
		return refuse(kerr.InvalidTopicException, fmt.Sprintf("%s is internal: records for it are not taken", topic))
	}
	return nil
}

// CreateOffsetsTopic creates the topic in which Kafka would keep offsets, unless it is there. It is for Groups. That it may fail is
// logged and holds nobody up, for nothing is kept in the topic: the next one who looks for a coordinator tries again.
func (b *Backend) CreateOffsetsTopic(ctx context.Context) {
	if _, err := byName(b.Cluster.State(), offsetsTopic); errors.Is(err, errUnknownTopic) {
		ctx, cancel := context.WithTimeout(ctx, offsetsTopicTimeout)
		defer cancel()
		(&describer{b}).createMissing(ctx, []string{offsetsTopic})
	}
}

// partitionsOf is how many partitions a topic gets whose creator does not say so.
func (b *Backend) partitionsOf(topic string) int32 {
	if isInternal(topic) {
		return 1
	}
	return b.Partitions
}

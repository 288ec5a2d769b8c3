package broker

import (
	"errors"
	"time"

	"github.com/firn-io/firn/broker/health"
)

// StoreState tells how well the object store does: "healthy", "degraded" or "unavailable".
func (b *Broker) StoreState() string { return b.store.State().String() }

// StoreReady is nil unless the object store is unavailable: for readiness probes.
func (b *Broker) StoreReady() error {
	if b.store.State() == health.Unavailable {
		return errors.New("the object store does not answer; what is in memory can be read")
	}
	return nil
}

// reachable lets the journals that are here know whether it makes sense to wait for the store, and the other brokers whether this one reaches it. It
// tells whether the store is to be asked.
func (b *Broker) reachable(s health.State) (ask bool) {
	for _, number := range b.cluster.Owns() {
		if j, err := b.cluster.Journal(number); err == nil {
			j.SetReachable(s != health.Unavailable)
		}
	}
	return b.cluster.SetReachable(s != health.Unavailable)
}

// maxThrottle is how long producers are asked to wait between requests, at most.
const maxThrottle = time.Second

// throttle is how long a producer is asked to wait before its next request: while the store is degraded, the longer the more memory requests
// hold, so that it is not full of records that cannot be written as fast as they come. Who does not listen finds that nobody reads from his connection
// when the memory is used up.
func throttle(s health.State, requests *Budget) time.Duration {
	if s != health.Degraded {
		return 0
	}
	used := float64(requests.Used()) / float64(requests.limit)
	return min(maxThrottle, maxThrottle/10+time.Duration(used*float64(maxThrottle)))
}

package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/lease"
)

// EndedPrefix begins {topic id}/{journal}: that journal has durably ended that topic, which is being deleted. The owner of journal 0 frees
// the name when all have. What it says is true whoever says it, so a notice that is late or is made again does no harm; one that is lost is made again
// by the journal's next owner.
const EndedPrefix = "ended/"

// EndedKey is the key of such a notice.
func EndedKey(topic kfs.TopicID, number uint32) string {
	return fmt.Sprintf("%s%s/%d", EndedPrefix, topic, number)
}

// TellEnded tells that a journal has ended a topic, until Release, or until the session is lost. told is false, and nothing is held, where
// somebody else tells so, or there is no session at the moment.
func (c *Cluster) TellEnded(ctx context.Context, topic kfs.TopicID, number uint32) (held *lease.Held, told bool, err error) {
	c.mu.Lock()
	s := c.session
	c.mu.Unlock()
	if s == nil {
		return nil, false, nil
	}
	held, told, err = s.TryAcquire(ctx, EndedKey(topic, number), "")
	if errors.Is(err, lease.ErrHeld) {
		return nil, false, nil // by what this broker said when it had the journal before
	}
	if err != nil {
		return nil, false, fmt.Errorf("cluster: %w", err)
	}
	return held, told, nil
}

// Ended tells whether a journal is known to have ended a topic.
func (c *Cluster) Ended(topic kfs.TopicID, number uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view.Ended(topic, number)
}

type endedIn struct {
	topic  kfs.TopicID
	number uint32
}

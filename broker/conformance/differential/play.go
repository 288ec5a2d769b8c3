package differential

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Outcome is what a step showed: its facts, sorted by path.
type Outcome []Fact

// Play plays a sequence to a server. Names get the given prefix, which has to be new there. The error is about the comparison itself:
// a server that is not there, or does not answer. What a server answers, errors and closed connections included, is in the outcomes.
func Play(ctx context.Context, server *Server, s *Sequence, prefix string, base time.Time) ([]Outcome, error) {
	side := &Side{
		server: server, prefix: prefix, base: base.UnixMilli(), conns: map[int]*conn{}, topicIDs: map[string][16]byte{},
		members: map[string]string{}, generations: map[string]int32{}, producers: map[string]*producer{}, sessions: map[string]int32{},
		expect: map[string]int{}, starts: map[string]int64{}, epochs: map[string]int32{},
	}
	defer side.end(ctx)
	outcomes := make([]Outcome, len(s.Steps))
	for i := range s.Steps {
		var err error
		if outcomes[i], err = side.play(ctx, &s.Steps[i]); err != nil {
			return nil, fmt.Errorf("%s, seed %d, step %d (%s): %w", server.Name, s.Seed, i, s.Steps[i].Text, err)
		}
	}
	return outcomes, nil
}

func (s *Side) play(ctx context.Context, step *Step) (Outcome, error) {
	c := s.conn(step.Actor)
	var outcome Outcome
	again := func() (bool, error) {
		resp, err := s.exchange(ctx, c, step)
		switch {
		case errors.Is(err, errClosed):
			outcome = Outcome{{Path: "connection", Value: "closed"}}
			return true, nil
		case err != nil:
			return false, err
		case resp == nil:
			return true, nil
		}
		if step.Learn != nil {
			step.Learn(s, resp)
		}
		outcome = s.facts(resp)
		return step.Until == nil || step.Until(resp), nil
	}
	if err := until(ctx, again); err != nil {
		return nil, err
	}
	if step.Then != nil {
		if err := until(ctx, step.Then(s)); err != nil {
			return nil, fmt.Errorf("waiting for what it does: %w", err)
		}
	}
	return outcome, nil
}

func (s *Side) exchange(ctx context.Context, c *conn, step *Step) (kmsg.Response, error) {
	if step.Kind != Receive {
		if err := c.send(ctx, step.Build(s)); err != nil {
			return nil, err
		}
	}
	if step.Kind == Send || len(c.waiting) == 0 {
		return nil, nil
	}
	return c.receive()
}

// end removes what the sequence has left, as well as it can, so that hundreds of them find room on a server.
func (s *Side) end(ctx context.Context) {
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.SetVersion(5)
	del.TimeoutMillis = 10_000
	for name := range s.topicIDs {
		del.TopicNames = append(del.TopicNames, s.topic(name))
	}
	if len(del.TopicNames) > 0 {
		s.conn(0).waiting = nil
		s.conn(0).call(ctx, del)
	}
	for _, c := range s.conns {
		c.close()
	}
}

package differential

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Server is one of the servers that are compared.
type Server struct {
	Name     string // as explanations call it: firn, kafka or kfake
	Addr     string
	Versions map[int16]Range // of each API that it says it has
	node     int32           // its id
}

// Range is a range of versions, inclusive.
type Range struct{ Min, Max int16 }

// Find asks the server at an address what it speaks, and waits until it gives producer ids and groups have
// coordinators: Kafka makes the topic of their offsets when it is first asked.
func Find(ctx context.Context, name, addr string) (*Server, error) {
	s := &Server{Name: name, Addr: addr, Versions: map[int16]Range{}}
	c := conn{addr: addr}
	defer c.close()
	ask := kmsg.NewPtrApiVersionsRequest()
	ask.SetVersion(3)
	ask.ClientSoftwareName, ask.ClientSoftwareVersion = "differential", "1"
	resp, err := c.call(ctx, ask)
	if err != nil {
		return nil, fmt.Errorf("%s at %s: %w", name, addr, err)
	}
	for _, k := range resp.(*kmsg.ApiVersionsResponse).ApiKeys {
		if r := kmsg.RequestForKey(k.ApiKey); r != nil {
			s.Versions[k.ApiKey] = Range{k.MinVersion, min(k.MaxVersion, r.MaxVersion())}
		}
	}
	brokers := kmsg.NewPtrMetadataRequest()
	brokers.SetVersion(9)
	brokers.Topics = []kmsg.MetadataRequestTopic{}
	if resp, err = c.call(ctx, brokers); err != nil || len(resp.(*kmsg.MetadataResponse).Brokers) != 1 {
		return nil, fmt.Errorf("%s at %s is not one broker alone: %w", name, addr, err)
	}
	s.node = resp.(*kmsg.MetadataResponse).Brokers[0].NodeID
	err = until(ctx, func() (bool, error) { return settledCoordinators(ctx, &c) })
	if err != nil {
		return nil, fmt.Errorf("%s at %s: waiting for coordinators: %w", name, addr, err)
	}
	return s, nil
}

// settledCoordinators asks for what needs a coordinator until nothing is answered with "not yet". Kafka spreads groups and transactional ids
// over 50 partitions each and takes them over one by one, so that it asks for many.
func settledCoordinators(ctx context.Context, c *conn) (bool, error) {
	groups := kmsg.NewPtrDescribeGroupsRequest()
	for i := range 500 {
		groups.Groups = append(groups.Groups, fmt.Sprint("differential-", i))
	}
	for kind := range int8(2) {
		find := kmsg.NewPtrFindCoordinatorRequest()
		find.SetVersion(3)
		find.CoordinatorKey, find.CoordinatorType = "differential", kind
		resp, err := c.call(ctx, find)
		if err != nil || notYet(resp.(*kmsg.FindCoordinatorResponse).ErrorCode) {
			return false, err
		}
	}
	described, err := c.call(ctx, groups)
	if err != nil {
		return false, err
	}
	for _, g := range described.(*kmsg.DescribeGroupsResponse).Groups {
		if notYet(g.ErrorCode) {
			return false, nil
		}
	}
	for _, id := range append([]string{""}, groups.Groups...) {
		producer := kmsg.NewPtrInitProducerIDRequest()
		producer.TransactionTimeoutMillis = 10_000
		if id != "" {
			producer.TransactionalID = &id
		}
		resp, err := c.call(ctx, producer)
		if err != nil || notYet(resp.(*kmsg.InitProducerIDResponse).ErrorCode) {
			return false, err
		}
	}
	return true, nil
}

// notYet reports whether a code asks to try again.
func notYet(code int16) bool { return code != 0 && kerr.IsRetriable(kerr.ErrorForCode(code)) }

// Common are the APIs and versions that all servers have.
func Common(servers ...*Server) map[int16]Range {
	common := map[int16]Range{}
	for key, r := range servers[0].Versions {
		for _, s := range servers[1:] {
			other, ok := s.Versions[key]
			if !ok {
				other = Range{0, -1}
			}
			r = Range{max(r.Min, other.Min), min(r.Max, other.Max)}
		}
		if r.Min <= r.Max {
			common[key] = r
		}
	}
	return common
}

// until asks again every few milliseconds until the answer is yes, for as long as an answer may take.
func until(ctx context.Context, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

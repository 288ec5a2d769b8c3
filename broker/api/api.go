package api

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Request is one request of a client: decoded, its form checked.
type Request struct {
	Body     kmsg.Request // its version is set; its byte slices are parts of the frame: who keeps them for long copies them
	ClientID string       // as the client names itself; "" if it does not
	Host     string       // the client's address without port
	// Earlier is closed when every earlier request of the connection has been answered.
	Earlier <-chan struct{}
	// Memory accounts for what the answer takes beyond a small one, until the answer is written. It is nil where nobody counts.
	Memory Memory

	small int64 // bytes of the answer that Memory does not account for
}

// smallAnswer is how many bytes of an answer need no memory of the shared kind. A client that waits for a few partitions' metadata
// does not stand in line behind those who wait for megabytes of records; and as a connection holds one answer at a time that asked
// for memory, what is not counted is at most this per connection.
const smallAnswer = 32 << 10

// Memory is the broker's memory for answers, shared by all connections.
type Memory interface {
	// ReserveShare blocks until the least may be used beside what the answer has, or ctx is done, and gives between least and most bytes:
	// few where memory is scarce or the client is slow to read. More than can ever be had is an error at once.
	ReserveShare(ctx context.Context, least, most int64) (int64, error)
}

// Reserve takes memory for a large answer before the handler builds it. It blocks until all earlier requests of the connection have
// been answered, so that a client that asks for much and reads little holds one such answer at a time, and while there is no memory.
func (r *Request) Reserve(ctx context.Context, bytes int64) error {
	_, err := r.ReserveShare(ctx, bytes, bytes)
	return err
}

// ReserveShare is Reserve for an answer that can be smaller: it takes at least and at most so many bytes, and says how many.
func (r *Request) ReserveShare(ctx context.Context, least, most int64) (int64, error) {
	if r.Memory == nil || most == 0 {
		return most, nil
	}
	select {
	case <-r.Earlier:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if r.small+most <= smallAnswer {
		r.small += most
		return most, nil
	}
	return r.Memory.ReserveShare(ctx, least, most)
}

// Start begins to serve a request. It is called in the order of arrival and must not block.
type Start func(ctx context.Context, r *Request) Finish

// Finish completes a request and gives the answer. It may block; ctx ends when the client is gone or the broker stops, and what
// waits only for the client's sake then returns at once. No answer and no error means that the client expects none. An error closes
// the connection, with the error as the logged reason: what a client can do something about is an error code in the answer instead.
type Finish func(ctx context.Context) (kmsg.Response, error)

// API is one Kafka API as it is served.
type API struct {
	Key      int16
	Min, Max int16 // versions, inclusive
	Start    Start
}

// Handler serves a request whole.
type Handler func(ctx context.Context, r *Request) (kmsg.Response, error)

// serve is an API in all the versions that kmsg knows.
func serve(key int16, start Start) API {
	return API{Key: key, Max: kmsg.RequestForKey(key).MaxVersion(), Start: start}
}

// concurrent lets a handler run beside other requests of its connection: for what only reads.
func concurrent(h Handler) Start {
	return func(_ context.Context, r *Request) Finish {
		return func(ctx context.Context) (kmsg.Response, error) { return h(ctx, r) }
	}
}

// serial lets a handler run when all earlier requests of its connection have been answered, as Kafka does: for what changes
// something and does not enqueue it in Start.
func serial(h Handler) Start {
	return func(_ context.Context, r *Request) Finish {
		return func(ctx context.Context) (kmsg.Response, error) {
			select {
			case <-r.Earlier:
				return h(ctx, r)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
}

// Registry is the set of APIs that a broker serves. It does not change once made.
type Registry struct {
	apis map[int16]API
	keys []int16 // sorted
}

// NewRegistry makes a registry of the given APIs and adds ApiVersions, which describes them. It panics if a key comes twice or has
// no shape: both are mistakes in this program.
func NewRegistry(apis ...API) *Registry {
	r := &Registry{apis: make(map[int16]API, len(apis)+1)}
	for _, a := range append(apis, apiVersions(r)) {
		if _, twice := r.apis[a.Key]; twice {
			panic(fmt.Sprintf("api: key %d is registered twice", a.Key))
		}
		if shapeOf(a.Key) == nil {
			panic(fmt.Sprintf("api: key %d has no shape", a.Key))
		}
		r.apis[a.Key] = a
		r.keys = append(r.keys, a.Key)
	}
	slices.Sort(r.keys)
	return r
}

// Lookup finds an API by its key.
func (r *Registry) Lookup(key int16) (API, bool) {
	a, ok := r.apis[key]
	return a, ok
}

// All gives the APIs in order of key.
func (r *Registry) All() []API {
	all := make([]API, 0, len(r.keys))
	for _, k := range r.keys {
		all = append(all, r.apis[k])
	}
	return all
}

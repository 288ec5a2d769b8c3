package lease

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Config says where etcd is and what is Firn's in it.
type Config struct {
	// Endpoints of etcd, HOST:PORT or URLs, at least one.
	Endpoints []string
	// Prefix is what all keys begin with, for clusters that share an etcd. It ends with a slash or is empty.
	Prefix string
	// TTL after which a session that nobody keeps alive has ended, in whole seconds; 0 is DefaultTTL. etcd makes it longer if it is
	// shorter than its own elections take.
	TTL time.Duration
}

// Validate reports all that is wrong.
func (c Config) Validate() error {
	var problems []error
	if len(c.Endpoints) == 0 {
		problems = append(problems, errors.New("etcd: no endpoints, want HOST:PORT,…"))
	}
	for _, e := range c.Endpoints {
		if e == "" || strings.ContainsAny(e, " ,") {
			problems = append(problems, fmt.Errorf("etcd endpoint %q: want HOST:PORT or a URL", e))
		}
	}
	if c.Prefix != "" && !strings.HasSuffix(c.Prefix, "/") {
		problems = append(problems, fmt.Errorf("etcd prefix %q does not end with a slash", c.Prefix))
	}
	if c.TTL < 0 || c.TTL%time.Second != 0 {
		problems = append(problems, fmt.Errorf("lease TTL %v: want whole seconds", c.TTL))
	}
	return errors.Join(problems...)
}

const (
	// pingEvery and pingTimeout find connections that are dead without saying so. etcd refuses pings that come faster than 5 s.
	pingEvery   = 10 * time.Second
	pingTimeout = 3 * time.Second
)

// Dial makes a service on etcd. It does not wait for etcd: what is asked of the service does.
func Dial(cfg Config) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            cfg.Endpoints,
		DialKeepAliveTime:    pingEvery,
		DialKeepAliveTimeout: pingTimeout,
		Logger:               zap.NewNop(), // what matters is in the errors
	})
	if err != nil {
		return nil, fmt.Errorf("etcd at %s: %w", strings.Join(cfg.Endpoints, ","), err)
	}
	return newService(etcd{client}, cfg.Prefix, cfg.TTL), nil
}

type etcd struct{ client *clientv3.Client }

var _ backend = etcd{}

// classify finds the errors that are definite.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return errGone
	}
	code := status.Code(err)
	if known := rpctypes.EtcdError(rpctypes.EtcdError{}); errors.As(err, &known) {
		code = known.Code()
	}
	switch code {
	case codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument, codes.Unimplemented:
		return refusal{err}
	}
	return err
}

func (e etcd) grant(ctx context.Context, ttl time.Duration) (int64, error) {
	granted, err := e.client.Grant(ctx, int64(math.Ceil(ttl.Seconds())))
	if err != nil {
		return 0, classify(err)
	}
	return int64(granted.ID), nil
}

// keepAlive sends exactly one request. The client's own KeepAliveOnce tries again inside, without a pause while etcd is away.
func (e etcd) keepAlive(ctx context.Context, id int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream
	stream, err := etcdserverpb.NewLeaseClient(e.client.ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return classify(rpctypes.Error(err))
	}
	if err := stream.Send(&etcdserverpb.LeaseKeepAliveRequest{ID: id}); err != nil {
		return classify(rpctypes.Error(err))
	}
	answer, err := stream.Recv()
	switch {
	case err != nil:
		return classify(rpctypes.Error(err))
	case answer.TTL <= 0:
		return errGone
	}
	return nil
}

func (e etcd) revoke(ctx context.Context, id int64) error {
	_, err := e.client.Revoke(ctx, clientv3.LeaseID(id))
	return classify(err)
}

func (e etcd) create(ctx context.Context, id int64, key, value string) (int64, error) {
	answer, err := e.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, value, clientv3.WithLease(clientv3.LeaseID(id)))).
		Else(clientv3.OpGet(key)). // with its value: without it etcd 3.7 does not say whose lease the key has
		Commit()
	if err != nil {
		return 0, classify(err)
	}
	if answer.Succeeded {
		return id, nil
	}
	// The condition and the read are one step, so the key is there.
	return answer.Responses[0].GetResponseRange().Kvs[0].Lease, nil
}

func (e etcd) put(ctx context.Context, id int64, key, value string) error {
	_, err := e.client.Put(ctx, key, value, clientv3.WithLease(clientv3.LeaseID(id)))
	return classify(err)
}

func (e etcd) remove(ctx context.Context, id int64, key string) error {
	_, err := e.client.Txn(ctx).
		If(clientv3.Compare(clientv3.LeaseValue(key), "=", id)).
		Then(clientv3.OpDelete(key)).
		Commit()
	return classify(err)
}

func (e etcd) list(ctx context.Context, prefix string) ([]Entry, int64, error) {
	answer, err := e.client.Get(ctx, prefix, clientv3.WithPrefix()) // in the order of keys
	if err != nil {
		return nil, 0, classify(err)
	}
	var entries []Entry
	for _, kv := range answer.Kvs {
		entries = append(entries, Entry{string(kv.Key), string(kv.Value)})
	}
	return entries, answer.Header.Revision, nil
}

func (e etcd) wait(ctx context.Context, prefix string, revision int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the watch
	changes := e.client.Watch(clientv3.WithRequireLeader(ctx), prefix, clientv3.WithPrefix(), clientv3.WithRev(revision+1))
	for change := range changes {
		if err := change.Err(); err != nil {
			return classify(err) // compacted, among others: a list finds out
		}
		if len(change.Events) > 0 {
			return nil
		}
	}
	return ctx.Err()
}

func (e etcd) Close() error { return e.client.Close() }

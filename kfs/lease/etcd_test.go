package lease

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// testTTL is long: on a machine with much else to do neither this process nor the etcd in it may run for seconds, and sessions that end because of that
// are no failure. Who waits for the end of one waits beside the others.
const testTTL = 10 * time.Second

// startEtcd runs an etcd in this process, with a new directory, on address, which may leave the port open, until stop or the test's end.
func startEtcd(t *testing.T, address string) (actual string, stop func()) {
	t.Helper()
	cfg := embed.NewConfig()
	cfg.Dir = t.TempDir()
	cfg.UnsafeNoFsync = true
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	free := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{free}, []url.URL{free}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{{Scheme: "http", Host: address}}, []url.URL{free}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(e.Close)
	t.Cleanup(stop)
	select {
	case <-e.Server.ReadyNotify():
	case err := <-e.Err():
		t.Fatal(err)
	}
	return e.Clients[0].Addr().String(), stop
}

func dialEtcd(t *testing.T, address, prefix string) *Service {
	t.Helper()
	s, err := Dial(Config{Endpoints: []string{address}, Prefix: prefix, TTL: testTTL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestEtcd(t *testing.T) {
	t.Parallel()
	address, _ := startEtcd(t, "127.0.0.1:0")
	for _, test := range suite {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.test(t, func(t *testing.T, prefix string) *Service { return dialEtcd(t, address, test.name+"/"+prefix) })
		})
	}
}

// TestEtcdComesBackEmpty: everything goes on, with new sessions, on an etcd that knows nothing.
func TestEtcdComesBackEmpty(t *testing.T) {
	t.Parallel()
	address, stopFirst := startEtcd(t, "127.0.0.1:0")
	service := dialEtcd(t, address, "")
	other := dialEtcd(t, address, "")
	next, stop := watch(t, other, "")
	defer stop()
	next()
	lives := 0
	err := service.Run(t.Context(), func(ctx context.Context, s *Session) error {
		lives++
		held, err := s.Acquire(ctx, "key", strings.Repeat("I", lives))
		if err != nil {
			return err
		}
		next(Entry{"key", strings.Repeat("I", lives)})
		if lives == 2 {
			return nil
		}
		stopFirst()
		<-ctx.Done()
		if held.Valid(time.Now()) {
			t.Error("valid after the end")
		}
		startEtcd(t, address)
		return ctx.Err()
	})
	if err != nil || lives != 2 {
		t.Errorf("%v after %d lives", err, lives)
	}
	next()
}

func TestConfigValidate(t *testing.T) {
	for _, cfg := range []Config{
		{},
		{Endpoints: []string{""}},
		{Endpoints: []string{"a:1,b:2"}},
		{Endpoints: []string{"a:1"}, Prefix: "firn"},
		{Endpoints: []string{"a:1"}, TTL: time.Second / 2},
		{Endpoints: []string{"a:1"}, TTL: -time.Second},
	} {
		if s, err := Dial(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
			s.Close()
		}
	}
}

func TestEtcdAway(t *testing.T) {
	t.Parallel()
	service := dialEtcd(t, "127.0.0.1:1", "") // nobody listens there
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := service.Open(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("open: %v", err)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// embeddedEtcd is the etcd of firn dev. It holds leases and nothing else, so it begins empty each time: whoever held a lease in the
// life before is gone with that process.
type embeddedEtcd struct {
	server *embed.Etcd
	close  sync.Once
}

// startEtcd starts an etcd with its files under dir on a free port of the loopback interface, and waits until it answers.
func startEtcd(ctx context.Context, dir string) (*embeddedEtcd, error) {
	return startEtcdAt(ctx, dir, "127.0.0.1:0")
}

// startEtcdAt is startEtcd on an address for its clients.
func startEtcdAt(ctx context.Context, dir, addr string) (*embeddedEtcd, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("clear the folder of etcd: %w", err)
	}
	cfg := embed.NewConfig()
	cfg.Name = "firn"
	cfg.Dir = dir
	cfg.TickMs, cfg.ElectionMs = 500, 2500 // half the processor time of the defaults when idle; there is nobody to elect
	cfg.UnsafeNoFsync = true               // nothing in it has to outlive the process
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	clients, peers := url.URL{Scheme: "http", Host: addr}, url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{clients}, []url.URL{clients}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peers}, []url.URL{peers}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	e := &embeddedEtcd{server: server}
	select {
	case <-server.Server.ReadyNotify():
		return e, nil
	case err = <-server.Err():
	case <-time.After(time.Minute):
		err = errors.New("not ready after a minute")
	case <-ctx.Done():
		err = ctx.Err()
	}
	e.Close()
	return nil, fmt.Errorf("start etcd: %w", err)
}

// Addr is where clients reach it.
func (e *embeddedEtcd) Addr() string { return e.server.Clients[0].Addr().String() }

// Close stops it and waits until it has stopped. It may be called again.
func (e *embeddedEtcd) Close() { e.close.Do(e.server.Close) }

//go:build integration

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firn-io/firn/cmd/firn/chaos"
)

const (
	fleetSize       = 3
	auditPartitions = 6
	leaseTTL        = 5 * time.Second
)

// fleet are three brokers, with an etcd and an S3 server that are not ours. Each broker reaches both through something that can fail.
type fleet struct {
	t        *testing.T
	server   *os.Process // of the store
	endpoint string      // of the server
	direct   string      // the store, for those that nothing befalls
	etcd     *embeddedEtcd
	addr     string // where etcd is, also after it was replaced
	all      [fleetSize]*process
	listen   [fleetSize]string
	stores   [fleetSize]*chaos.Store
	links    [fleetSize]*chaos.Link
	with     fleetConfig
}

// fleetConfig is what a test wants otherwise.
type fleetConfig struct {
	short bool     // LIMIT is short, and with it the least grace: a firn that was built with the tag firn_short_limit
	args  []string // more of each broker
}

func startFleet(t *testing.T) *fleet { return startFleetWith(t, fleetConfig{}) }

func startFleetWith(t *testing.T, with fleetConfig) *fleet {
	t.Helper()
	server, endpoint := versitygw(t, "firn")
	f := &fleet{t: t, server: server, endpoint: endpoint, direct: storeAt(endpoint), etcd: newEtcd(t), with: with}
	f.addr = f.etcd.Addr()
	for i := range f.all {
		store, err := chaos.NewStore(endpoint, "firn/lake/")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(store.Close)
		link, err := chaos.NewLink(f.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(link.Close)
		f.stores[i], f.links[i], f.listen[i] = store, link, "127.0.0.1:0"
		f.start(i)
	}
	f.create(auditTopics...)
	f.spread("all brokers lead partitions", fleetSize)
	return f
}

func storeAt(endpoint string) string {
	return "s3://firn/lake?endpoint=" + endpoint + "&region=us-east-1"
}

// start starts a broker, where it has been before if it has.
func (f *fleet) start(i int) {
	f.t.Helper()
	f.all[i] = f.launch(i, f.links[i].Addr())
	f.listen[i] = f.all[i].where["kafka"]
}

// launch starts broker i with an etcd.
func (f *fleet) launch(i int, etcd string) *process {
	f.t.Helper()
	program := "FIRN_BIN"
	if f.with.short {
		program = "FIRN_SHORT_BIN"
	}
	return startProgram(f.t, program, append([]string{"broker", "--store", storeAt(f.stores[i].URL()), "--etcd", etcd, "--id", fmt.Sprint(i + 1),
		"--journals", fmt.Sprint(fleetSize), "--kafka", f.listen[i], "--http", "127.0.0.1:0"}, f.with.args...)...)
}

func (f *fleet) client(opts ...kgo.Opt) *kgo.Client {
	f.t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(f.listen[:]...)}, opts...)...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(client.Close)
	return client
}

func (f *fleet) create(topics ...string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), waitLimit)
	defer cancel()
	created, err := kadm.NewClient(f.client()).CreateTopics(ctx, auditPartitions, -1, nil, topics...)
	if err == nil {
		err = created.Error()
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// leaders are how many partitions of the audited topics each broker leads, as broker i tells it.
func (f *fleet) leaders(i int) (map[int32]int, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(f.listen[i]))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(f.t.Context(), 2*time.Second)
	defer cancel()
	topics, err := kadm.NewClient(client).ListTopics(ctx, auditTopics...)
	if err != nil {
		return nil, err
	}
	leaders := map[int32]int{}
	for _, topic := range topics {
		for _, p := range topic.Partitions {
			leaders[p.Leader]++
		}
	}
	return leaders, nil
}

// spread waits until so many brokers lead partitions, and every partition has a leader.
func (f *fleet) spread(what string, brokers int) {
	f.t.Helper()
	eventually(f.t, func() error {
		for i, p := range f.all {
			if p == nil {
				continue
			}
			leaders, err := f.leaders(i)
			if err != nil {
				return err
			}
			if leaders[-1] > 0 || len(leaders) != brokers {
				return fmt.Errorf("%s: broker %d says that partitions are led by %v", what, i+1, leaders)
			}
		}
		return nil
	})
}

// status gives what a process's status page says.
func status(t *testing.T, p *process, path string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.where["http"]+path, nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}

// says waits until a broker's status page mentions something.
func (f *fleet) says(i int, path, text string) {
	f.t.Helper()
	eventually(f.t, func() error {
		page, err := status(f.t, f.all[i], path)
		if err == nil && !strings.Contains(page, text) {
			err = fmt.Errorf("%s of broker %d does not say %q:\n%s", path, i+1, text, page)
		}
		return err
	})
}

// each does something to every broker's store.
func (f *fleet) each(do func(*chaos.Store)) {
	for _, s := range f.stores {
		do(s)
	}
}

// befalls has a fault befall the requests of all brokers, until end is called.
func (f *fleet) befalls(match chaos.Match, fault chaos.Fault) (met func() int, end func()) {
	var traps []*chaos.Trap
	f.each(func(s *chaos.Store) { traps = append(traps, s.On(match, fault)) })
	met = func() (n int) {
		for _, t := range traps {
			n += t.Met()
		}
		return n
	}
	return met, func() {
		for _, t := range traps {
			t.Remove()
		}
	}
}

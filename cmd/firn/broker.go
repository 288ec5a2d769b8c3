package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/broker"
	"github.com/firn-io/firn/broker/auth"
	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/kfs/blob/open"
	"github.com/firn-io/firn/kfs/lease"
	"github.com/firn-io/firn/runtime/job"
)

// defaultData is the folder of everything that is embedded.
const defaultData = "firn-data"

// etcdPrefix begins all of Firn's keys in etcd.
const etcdPrefix = "/firn/"

// brokerFlags are the flags that firn broker and firn dev share.
type brokerFlags struct {
	kafka      string
	partitions int32
	memory     string
	hold       time.Duration
	history    historyFlags
	tls        auth.Files
}

// secure reads the certificates of the listener; nil without any.
func (f *brokerFlags) secure() (*auth.TLS, error) {
	if f.tls == (auth.Files{}) {
		return nil, nil
	}
	t, err := auth.Load(f.tls)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert, --tls-key, --tls-client-ca: %w", err)
	}
	return t, nil
}

func (f *brokerFlags) register(c *cobra.Command, memory string) {
	c.Flags().StringVar(&f.kafka, "kafka", "127.0.0.1:9092", "`address` to listen on for the Kafka protocol; port 0 takes any free one")
	c.Flags().Int32Var(&f.partitions, "partitions", 4, "partitions of a topic whose creator does not say `how many`")
	c.Flags().StringVar(&f.memory, "memory", memory, "bound of all buffers")
	c.Flags().DurationVar(&f.hold, "hold-limit", 7*24*time.Hour, "how `long` beyond a topic's retention.ms records are kept for jobs that have not read them")
	f.history.register(c)
	c.Flags().StringVar(&f.tls.Cert, "tls-cert", "", "`file` with the listener's certificate and its chain, in PEM; turns TLS on; read again when it changes")
	c.Flags().StringVar(&f.tls.Key, "tls-key", "", "`file` with the certificate's private key, in PEM")
	c.Flags().StringVar(&f.tls.ClientCA, "tls-client-ca", "", "`file` with the certificates that those of clients must be signed by; turns mutual TLS on, between brokers too")
}

// parse gives the memory in bytes, and checks the rest.
func (f *brokerFlags) parse() (memory int64, err error) {
	if f.hold <= 0 {
		return 0, fmt.Errorf("--hold-limit: %v is no time that records can be kept for", f.hold)
	}
	if memory, err = job.ParseSize(f.memory); err != nil {
		return 0, fmt.Errorf("--memory: %w", err)
	}
	return memory, nil
}

func (p *program) brokerCommand() *cobra.Command {
	var flags brokerFlags
	var store, http, advertise, prefix string
	var etcd []string
	var autoCreate bool
	var id int32
	var journals uint32
	c := &cobra.Command{
		Use:   "broker --store URL",
		Short: "Run a broker: from the Kafka protocol into the log",
		Long: `Run a broker: it speaks the Kafka protocol and keeps everything that must last in the store.

Several brokers are one cluster if they have the same --store and the same --etcd, and each an --id of its own. The log is written as a few
journals; each has one broker at a time, and --journals says how many there are. A broker that is stopped (SIGTERM) hands its journals over
at once; those of one that dies are taken over when its lease has passed, after 5 s. Nothing moves but the right to write.

etcd says which brokers live and who owns which journal; nothing in it must be kept. Without --etcd the broker takes it that it
is the only one; should it not be, the store lets the one win that started last, and the other ends with an error.`,
		Example: `  firn broker --store file:///var/lib/firn

  # the first of three; the others have --id 2 and --id 3, and say where they are reached
  firn broker --store 's3://bucket/prefix?region=eu-central-1' --etcd etcd1:2379,etcd2:2379 --id 1 --journals 3 \
      --kafka 0.0.0.0:9092 --advertise broker1.example.com:9092`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			memory, err := flags.parse()
			if err != nil {
				return err
			}
			history, err := flags.history.parse()
			if err != nil {
				return err
			}
			secure, err := flags.secure()
			if err != nil {
				return err
			}
			space, err := open.Store(c.Context(), store) // the broker itself refuses one that is being restored
			if err != nil {
				return err
			}
			leases, where, err := dialLeases(etcd, prefix)
			if err != nil {
				return err
			}
			metrics := newMetrics()
			b, err := broker.New(broker.Config{
				Store: space, StoreName: storeName(store), Leases: leases, Alone: len(etcd) == 0, ID: id, Listen: flags.kafka, TLS: secure, Advertise: advertise, Journals: journals,
				Partitions: flags.partitions, AutoCreate: autoCreate, MemoryBytes: memory, HoldLimit: flags.hold,
				History: history, Log: p.logger, Metrics: metrics,
			})
			if err != nil {
				return errors.Join(err, leases.Close())
			}
			lines := []line{{"kafka", b.Addr().String(), "advertised as " + b.Advertised()}, {"store", store, ""}, {"leases", where, ""}}
			return errors.Join(onlyBroker(p.serveBroker(c.Context(), b, http, metrics, lines)), leases.Close())
		},
	}
	flags.register(c, "512MiB")
	c.Flags().StringVar(&store, "store", "", storeHelp)
	c.Flags().StringSliceVar(&etcd, "etcd", nil, "`addresses` of etcd, host:port, separated by commas (default none: this is the only broker)")
	c.Flags().StringVar(&prefix, "etcd-prefix", etcdPrefix, "what all keys in etcd begin with; `prefix`es of clusters that share an etcd must differ")
	c.Flags().Uint32Var(&journals, "journals", 0, "`how many` journals a new cluster has, and a present one grows to, for new topics and partitions; give all brokers the same (default as many as brokers when the cluster is made)")
	c.Flags().StringVar(&advertise, "advertise", "", "`host:port` that clients and other brokers are told (default where it listens)")
	c.Flags().StringVar(&http, "http", "", "`address` for /healthz, /readyz and /metrics (default off)")
	c.Flags().BoolVar(&autoCreate, "auto-create", true, "create a topic when a client asks for it by name")
	c.Flags().Int32Var(&id, "id", 0, "node `id`, 0 or more; brokers that live at the same time need different ones")
	c.MarkFlagRequired("store")
	return c
}

// onlyBroker says what to do where a broker without etcd has met another one.
func onlyBroker(err error) error {
	if errors.Is(err, journal.ErrFenced) {
		return fmt.Errorf("another broker has taken over this store, which goes on; nothing acknowledged is lost: give both the same --etcd, or run one of them: %w", err)
	}
	return err
}

func (p *program) serveBroker(ctx context.Context, b *broker.Broker, http string, metrics *prometheus.Registry, lines []line) error {
	group, ctx := errgroup.WithContext(ctx)
	if http != "" {
		status, err := listenStatus(http, metrics, brokerChecks(b))
		if err != nil {
			stopped, cancel := context.WithCancel(ctx)
			cancel()
			return errors.Join(err, b.Run(stopped)) // which closes its listener
		}
		lines = append(lines, line{"http", status.Addr(), "/healthz, /readyz, /metrics"})
		group.Go(func() error { return status.Run(ctx) })
	}
	group.Go(func() error { return b.Run(ctx) })
	group.Go(func() error {
		select {
		case <-b.Ready():
			p.banner("firn broker", lines)
			fmt.Fprintln(p.out, "ready; stop with Ctrl-C")
		case <-ctx.Done():
		}
		return nil
	})
	return group.Wait()
}

// brokerChecks are the readiness checks of a broker.
func brokerChecks(b *broker.Broker) []check {
	return []check{{name: "broker", ready: b.Serving}, {name: "store", ready: b.StoreReady, state: b.StoreState}}
}

// dialLeases connects to etcd, or makes leases for one process alone.
func dialLeases(etcd []string, prefix string) (s *lease.Service, where string, err error) {
	if len(etcd) == 0 {
		return lease.NewMemory().Service(prefix, lease.DefaultTTL), "none: the only broker", nil
	}
	s, err = lease.Dial(lease.Config{Endpoints: etcd, Prefix: prefix})
	return s, "etcd " + strings.Join(etcd, ","), err
}

// newMetrics is a registry that knows the process already.
func newMetrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// line is one line of what a command prints of itself.
type line struct{ what, where, note string }

func (p *program) banner(title string, lines []line) {
	fmt.Fprintln(p.out, title)
	for _, l := range lines {
		fmt.Fprintf(p.out, "  %-9s %-28s %s\n", l.what, l.where, l.note)
	}
}

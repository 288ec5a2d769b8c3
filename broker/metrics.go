package broker

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/cluster"
)

// Metrics are the server's figures.
type Metrics struct {
	connections prometheus.Gauge
	closed      *prometheus.CounterVec
	requests    *prometheus.HistogramVec
	received    prometheus.Counter
	sent        prometheus.Counter
	panics      prometheus.Counter
}

// NewMetrics makes the server's figures and registers them, with those of its budgets, unless r is nil.
func NewMetrics(r prometheus.Registerer, requests, answers *Budget) *Metrics {
	m := &Metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "firn_broker_connections", Help: "Open client connections."}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "firn_broker_connections_closed_total", Help: "Closed client connections, by why."}, []string{"reason"}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "firn_broker_request_duration_seconds", Help: "Time from a request's last byte to its answer, by API.",
			Buckets: []float64{.0005, .002, .01, .05, .1, .25, .5, 1, 5, 30}}, []string{"api"}),
		received: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "firn_broker_received_bytes", Help: "Bytes of requests."}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "firn_broker_sent_bytes", Help: "Bytes of answers."}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "firn_broker_handler_panics_total", Help: "Panics of request handlers; each is a bug and cost its connection."}),
	}
	memory := func(use string, b *Budget) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "firn_broker_memory_bytes", Help: "Memory in use, by what for.",
			ConstLabels: prometheus.Labels{"use": use}}, func() float64 { return float64(b.Used()) })
	}
	if r != nil {
		r.MustRegister(memory("requests", requests), memory("answers", answers))
		r.MustRegister(m.connections, m.closed, m.requests, m.received, m.sent, m.panics)
	}
	return m
}

// observe registers what a broker knows of its cluster, unless r is nil.
func observe(r prometheus.Registerer, c *cluster.Cluster) {
	if r == nil {
		return
	}
	for _, g := range []struct {
		name, help string
		value      func() int
	}{
		{"firn_cluster_brokers", "Live brokers, as this one sees them.", func() int { return len(c.Brokers()) }},
		{"firn_cluster_journals", "Journals of the cluster.", func() int { return int(c.State().Cluster().Journals) }},
		{"firn_cluster_journals_owned", "Journals that this broker owns.", func() int { return len(c.Owns()) }},
	} {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: g.name, Help: g.help}, func() float64 { return float64(g.value()) }))
	}
}

func (m *Metrics) answered(key int16, took time.Duration) {
	m.requests.WithLabelValues(kmsg.NameForKey(key)).Observe(took.Seconds())
}

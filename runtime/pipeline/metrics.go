package pipeline

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what a job tells Prometheus, by table.
type metrics struct {
	records     *prometheus.CounterVec
	bytes       *prometheus.CounterVec
	commits     *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	freshness   *prometheus.HistogramVec
	lag         *prometheus.GaugeVec
	deadLetters *prometheus.CounterVec
	retries     *prometheus.CounterVec
	halted      *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer, job string) (*metrics, error) {
	counter := func(name, help string, by ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "firn_pipeline_" + name, Help: help}, by)
	}
	gauge := func(name, help string, by ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "firn_pipeline_" + name, Help: help}, by)
	}
	seconds := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "firn_pipeline_" + name, Help: help,
			Buckets: []float64{0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 30, 60, 600, 3600}}, []string{"table"})
	}
	m := &metrics{
		records:     counter("records_total", "Records whose offsets are committed, dead letters included.", "table"),
		bytes:       counter("bytes_total", "Bytes of record batches, as producers sent them, whose offsets are committed.", "table"),
		commits:     counter("commits_total", "Commits that have landed.", "table"),
		seconds:     seconds("commit_seconds", "Time of a commit, from emptying the decoders to its success."),
		freshness:   seconds("freshness_seconds", "Age of the oldest record of a commit when it became visible, from the sealing of its object."),
		lag:         gauge("lag_offsets", "Offsets that the log is known to have, by its newest checkpoint at the start and by what was read, and that are not committed.", "table"),
		deadLetters: counter("dead_letters_total", "Records that could not be decoded.", "table"),
		retries:     counter("retries_total", "Passing errors that were tried again, by table; none for the journals.", "table"),
		halted:      gauge("halted", "Tables, partitions and journals that wait for a person, and tables that are stuck.", "table", "kind"),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.records, m.bytes, m.commits, m.seconds, m.freshness, m.lag, m.deadLetters, m.retries, m.halted} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("metrics of job %s: %w", job, err)
		}
	}
	return m, nil
}

// halt counts what waits for a person, and ends with the process: a table or a journal. Partitions are counted by countHalted.
func (m *metrics) halt(table, kind string) { m.halted.WithLabelValues(table, kind).Inc() }

// committed counts a commit.
func (m *metrics) committed(table string, g *group, took, freshness time.Duration) {
	m.records.WithLabelValues(table).Add(float64(g.records))
	m.bytes.WithLabelValues(table).Add(float64(g.bytes))
	m.commits.WithLabelValues(table).Inc()
	m.seconds.WithLabelValues(table).Observe(took.Seconds())
	m.freshness.WithLabelValues(table).Observe(freshness.Seconds())
}

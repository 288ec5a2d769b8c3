package work

import "github.com/prometheus/client_golang/prometheus"

// metrics are what a worker tells Prometheus.
type metrics struct {
	partitions prometheus.Gauge
	rebalances prometheus.Counter
	handed     *prometheus.CounterVec
	taken      *prometheus.CounterVec
	merged     prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		partitions: prometheus.NewGauge(prometheus.GaugeOpts{Name: "firn_work_partitions", Help: "Partitions that this worker reads."}),
		rebalances: prometheus.NewCounter(prometheus.CounterOpts{Name: "firn_work_rebalances_total", Help: "How often that has changed."}),
		handed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "firn_work_groups_handed_total",
			Help: "Groups that were handed to another worker, by what became of them: committed, moved, or yourself, when this worker has committed them after all."}, []string{"verdict"}),
		taken: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "firn_work_groups_taken_total",
			Help: "Groups of other workers that this one was asked to commit, by what became of them."}, []string{"verdict"}),
		merged: prometheus.NewCounter(prometheus.CounterOpts{Name: "firn_work_merged_commits_total", Help: "Commits that this worker has made of groups, each of one group or more."}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.partitions, m.rebalances, m.handed, m.taken, m.merged} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

package retention

import "github.com/prometheus/client_golang/prometheus"

// metrics are those of one broker's retention.
type metrics struct {
	trims, bytes, overrun prometheus.Counter
	unreadable            prometheus.Gauge
	held                  *prometheus.GaugeVec
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "firn", Subsystem: "retention", Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: "firn", Subsystem: "retention", Name: name, Help: help}
	}
	m := &metrics{
		trims:      counter("trims_total", "Log starts moved."),
		bytes:      counter("trimmed_bytes_total", "Bytes of records before the log starts that were moved."),
		overrun:    counter("overrun_records_total", "Records that went although a job could still need them, because they were too old even for jobs."),
		unreadable: prometheus.NewGauge(gauge("unreadable_jobs", "Jobs whose object cannot be read: everything is kept for them.")),
		held:       prometheus.NewGaugeVec(gauge("held_bytes", "Bytes of records that are due and stay because a job may need them."), []string{"journal"}),
	}
	if registerer != nil {
		for _, c := range []prometheus.Collector{m.trims, m.bytes, m.overrun, m.unreadable, m.held} {
			// A second broker in this process would be counted nowhere.
			_ = registerer.Register(c)
		}
	}
	return m
}

package journal

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firn-io/firn/kfs"
)

// metrics are the journal's, labelled with its number.
type metrics struct {
	registerer prometheus.Registerer
	collectors []prometheus.Collector

	objects, objectBytes, records prometheus.Counter
	puts, gets, lists             prometheus.Counter
	checkpoints, refused, deletes prometheus.Counter
	settled, settledBytes         prometheus.Counter
	settlePuts                    prometheus.Counter
	coldReads, coldBytes          prometheus.Counter
	appendSeconds                 prometheus.Histogram
}

func newMetrics(registerer prometheus.Registerer, journal uint32) *metrics {
	m := &metrics{}
	if registerer != nil {
		m.registerer = prometheus.WrapRegistererWith(prometheus.Labels{"journal": fmt.Sprint(journal)}, registerer)
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "firn", Subsystem: "journal", Name: name, Help: help})
		m.collectors = append(m.collectors, c)
		return c
	}
	m.objects = counter("objects_total", "Objects committed.")
	m.objectBytes = counter("object_bytes_total", "Bytes of objects committed.")
	m.records = counter("records_total", "Records committed.")
	m.puts = counter("puts_total", "PUT requests, of objects, checkpoints, index pages, segments and their indexes.")
	m.gets = counter("gets_total", "GET requests on the way of writing: takeover, unknown outcomes, reading back.")
	m.lists = counter("lists_total", "LIST requests.")
	m.checkpoints = counter("checkpoints_total", "Checkpoints written and read back.")
	m.settled = counter("settled_segments_total", "Segments that records were settled in.")
	m.settledBytes = counter("settled_bytes_total", "Bytes of segments that records were settled in.")
	m.settlePuts = counter("settle_puts_total", "PUT requests of segments and their indexes, which puts_total counts too.")
	m.deletes = counter("deletes_total", "Objects, segments, indexes and pages deleted.")
	m.refused = counter("refused_appends_total", "Appends refused because too many bytes waited.")
	m.coldReads = counter("cold_reads_total", "Reads of records that were not in memory.")
	m.coldBytes = counter("cold_read_bytes_total", "Bytes of reads of records that were not in memory.")
	m.appendSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "firn", Subsystem: "journal", Name: "append_seconds", Help: "Time from an append to its answer.",
		Buckets: []float64{.005, .01, .025, .05, .1, .2, .3, .5, 1, 2.5, 5, 10, 20},
	})
	m.collectors = append(m.collectors, m.appendSeconds)
	if m.registerer != nil {
		for _, c := range m.collectors {
			// A second journal of that number in this process would be counted nowhere; its owner runs one at a time.
			_ = m.registerer.Register(c)
		}
	}
	return m
}

func (m *metrics) unregister() {
	if m.registerer == nil {
		return
	}
	for _, c := range m.collectors {
		m.registerer.Unregister(c)
	}
}

// put counts a PUT. What does not lie in the journal's own folder is a segment or its index.
func (m *metrics) put(journal uint32, key string) {
	m.puts.Inc()
	if !strings.HasPrefix(key, kfs.JournalPrefix(journal)) {
		m.settlePuts.Inc()
	}
}

func (m *metrics) committed(manifest *kfs.Manifest, bytes int) {
	m.objects.Inc()
	m.objectBytes.Add(float64(bytes))
	for i := range manifest.Segments {
		m.records.Add(float64(manifest.Segments[i].Records))
	}
	for _, e := range manifest.Entries {
		if e, ok := e.(kfs.Settled); ok {
			for _, s := range e.Segments {
				m.settled.Inc()
				m.settledBytes.Add(float64(s.Length))
			}
		}
	}
}

// Package metrics is what a mount tells Prometheus. It is the only package
// that imports Prometheus, and it knows nothing of the lifecycle: gauges come
// from a func that is asked at each scrape, counters are told.
package metrics

import (
	"bytes"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"
)

// Metrics belongs to one mount. Safe for concurrent use.
type Metrics struct {
	registry    *prometheus.Registry
	parts       *prometheus.CounterVec
	bytes       *prometheus.CounterVec
	records     *prometheus.CounterVec
	checkpoints *prometheus.CounterVec
	duration    prometheus.Histogram
	success     prometheus.Gauge
	restaged    prometheus.Counter
}

// Build says which program runs.
type Build struct{ Version, Commit, Go string }

// New returns the metrics of a mount. snapshot is called at each Text, from
// its goroutine.
func New(build Build, snapshot func() Snapshot) *Metrics {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, []string{label})
	}
	m := &Metrics{
		registry:    prometheus.NewRegistry(),
		parts:       counter("finished_parts_total", "Part files published.", "sink"),
		bytes:       counter("finished_bytes_total", "Bytes of sources in published part files.", "sink"),
		records:     counter("finished_records_total", "Records in published part files.", "sink"),
		checkpoints: counter("checkpoints_total", "Checkpoints by how they ended.", "state"),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "checkpoint_duration_seconds", Help: "From the barrier to the answer.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}),
		success: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "last_complete_checkpoint_timestamp_seconds", Help: "When the last checkpoint that published everything ended, 0 before the first.",
		}),
		restaged: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "restaged_parts_total", Help: "Parts staged again because the store lost what was staged.",
		}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": build.Version, "commit": build.Commit, "goversion": build.Go},
	})
	info.Set(1)
	for _, state := range []string{"complete", "partial", "declined"} {
		m.checkpoints.WithLabelValues(state) // a series that is there from the start can be alerted on
	}
	m.registry.MustRegister(m.parts, m.bytes, m.records, m.checkpoints, m.duration, m.success, m.restaged, info,
		newGauges(snapshot), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Finished counts a part that was published.
func (m *Metrics) Finished(sink string, bytes, records int64) {
	m.parts.WithLabelValues(sink).Inc()
	m.bytes.WithLabelValues(sink).Add(float64(max(0, bytes)))
	m.records.WithLabelValues(sink).Add(float64(max(0, records)))
}

// Checkpoint counts a checkpoint that ended at the time at.
func (m *Metrics) Checkpoint(state string, took time.Duration, at time.Time) {
	m.checkpoints.WithLabelValues(state).Inc()
	m.duration.Observe(took.Seconds())
	if state == "complete" {
		m.Succeeded(at)
	}
}

// Succeeded sets the time of the last complete checkpoint, as an earlier
// process left it.
func (m *Metrics) Succeeded(at time.Time) {
	m.success.Set(float64(at.UnixMilli()) / 1000)
}

// Restaged counts a part that was staged once more.
func (m *Metrics) Restaged() { m.restaged.Inc() }

// Text is everything in the text format of Prometheus.
func (m *Metrics) Text() ([]byte, error) {
	families, err := m.registry.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather metrics: %w", err)
	}
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			return nil, fmt.Errorf("write metric %s: %w", f.GetName(), err)
		}
	}
	return b.Bytes(), nil
}

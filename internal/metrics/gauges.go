package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const namespace = "sinkfs"

// Snapshot is how a mount stands now.
type Snapshot struct {
	Parts            map[string]Count // by state
	UnfinishedBytes  int64
	OldestUnfinished float64 // seconds
	Sources          int     // with unfinished bytes or writers
	Writers          int
	ScratchFiles     int
	ScratchBytes     int64
	SpoolUsed        uint64
	SpoolFree        uint64
	Alarm            bool
	TargetUp         bool
	Target           string    // ok, down, refused, unknown
	TargetSince      time.Time // it is so
	Passthrough      bool
	State            string // recovering, running, draining
}

// Count is a number of parts and their bytes.
type Count struct{ Parts, Bytes int64 }

// states are listed even when no part is in them.
var states = []string{"in_progress", "pending", "committing", "quarantined"}

// gauges asks for a snapshot once per scrape, so that the numbers of a scrape
// belong together.
type gauges struct {
	snapshot func() Snapshot
	single   []single
	parts    *prometheus.Desc
	bytes    *prometheus.Desc
	state    *prometheus.Desc
	target   *prometheus.Desc
}

type single struct {
	desc  *prometheus.Desc
	value func(Snapshot) float64
}

func newGauges(snapshot func() Snapshot) *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(namespace+"_"+name, help, labels, nil)
	}
	return &gauges{
		snapshot: snapshot,
		parts:    desc("parts", "Parts that are not finished.", "state"),
		bytes:    desc("part_bytes", "Bytes of parts that are not finished.", "state"),
		state:    desc("state", "1 for what the mount is doing, 0 for the other states.", "state"),
		target:   desc("target_state", "1 for how the target is, 0 for the other states.", "state"),
		single: []single{
			{desc("unfinished_bytes", "Bytes written and not yet finished."), func(s Snapshot) float64 { return float64(s.UnfinishedBytes) }},
			{desc("oldest_unfinished_seconds", "Age of the oldest byte that is not finished."), func(s Snapshot) float64 { return s.OldestUnfinished }},
			{desc("sources", "Sources with unfinished bytes or open writers."), func(s Snapshot) float64 { return float64(s.Sources) }},
			{desc("writers", "Handles open for writing."), func(s Snapshot) float64 { return float64(s.Writers) }},
			{desc("scratch_files", "Names that are never published."), func(s Snapshot) float64 { return float64(s.ScratchFiles) }},
			{desc("scratch_bytes", "Bytes in names that are never published."), func(s Snapshot) float64 { return float64(s.ScratchBytes) }},
			{desc("spool_used_bytes", "Bytes of the spool that are not released."), func(s Snapshot) float64 { return float64(s.SpoolUsed) }},
			{desc("spool_free_bytes", "Free bytes of the spool's file system."), func(s Snapshot) float64 { return float64(s.SpoolFree) }},
			{desc("alarm", "1 when data waits longer than alarm_after."), func(s Snapshot) float64 { return truth(s.Alarm) }},
			{desc("target_up", "1 when the target answers."), func(s Snapshot) float64 { return truth(s.TargetUp) }},
			{desc("target_since_timestamp_seconds", "Since when the target is as it is."), func(s Snapshot) float64 { return float64(s.TargetSince.Unix()) }},
			{desc("passthrough", "1 when the kernel writes into the spool by itself."), func(s Snapshot) float64 { return truth(s.Passthrough) }},
		},
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, s := range g.single {
		ch <- s.desc
	}
	ch <- g.parts
	ch <- g.bytes
	ch <- g.state
	ch <- g.target
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	now := g.snapshot()
	for _, s := range g.single {
		ch <- prometheus.MustNewConstMetric(s.desc, prometheus.GaugeValue, s.value(now))
	}
	for _, state := range states {
		c := now.Parts[state]
		ch <- prometheus.MustNewConstMetric(g.parts, prometheus.GaugeValue, float64(c.Parts), state)
		ch <- prometheus.MustNewConstMetric(g.bytes, prometheus.GaugeValue, float64(c.Bytes), state)
	}
	for _, state := range []string{"recovering", "running", "draining"} {
		ch <- prometheus.MustNewConstMetric(g.state, prometheus.GaugeValue, truth(state == now.State), state)
	}
	for _, state := range []string{"ok", "down", "refused", "unknown"} {
		ch <- prometheus.MustNewConstMetric(g.target, prometheus.GaugeValue, truth(state == now.Target), state)
	}
}

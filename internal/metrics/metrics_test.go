package metrics_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sinkfs/sinkfs/internal/metrics"
)

// ours are the lines of our own series.
func ours(t *testing.T, m *metrics.Metrics) []string {
	t.Helper()
	text, err := m.Text()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "sinkfs_") && !strings.Contains(line, "_bucket{") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func TestText(t *testing.T) {
	asked := 0
	m := metrics.New(metrics.Build{Version: "v1", Commit: "abc", Go: "go1"}, func() metrics.Snapshot {
		asked++
		return metrics.Snapshot{
			Parts:           map[string]metrics.Count{"pending": {Parts: 2, Bytes: 20}, "finished": {Parts: 7, Bytes: 70}},
			UnfinishedBytes: 25, OldestUnfinished: 1.5, Sources: 3, Writers: 4, ScratchFiles: 1, ScratchBytes: 6,
			SpoolUsed: 31, SpoolFree: 1000, TargetUp: true, Target: "ok", TargetSince: time.Unix(1700000200, 0), State: "running",
		}
	})
	m.Finished("/events", 10, 1)
	m.Finished("/events", 5, 2)
	m.Checkpoint("complete", 250*time.Millisecond, time.Unix(1700000000, 5e8))
	m.Checkpoint("partial", time.Second, time.Unix(1700000100, 0))
	m.Restaged()
	want := []string{
		"sinkfs_alarm 0",
		`sinkfs_build_info{commit="abc",goversion="go1",version="v1"} 1`,
		"sinkfs_checkpoint_duration_seconds_sum 1.25",
		"sinkfs_checkpoint_duration_seconds_count 2",
		`sinkfs_checkpoints_total{state="complete"} 1`,
		`sinkfs_checkpoints_total{state="declined"} 0`,
		`sinkfs_checkpoints_total{state="partial"} 1`,
		`sinkfs_finished_bytes_total{sink="/events"} 15`,
		`sinkfs_finished_parts_total{sink="/events"} 2`,
		`sinkfs_finished_records_total{sink="/events"} 3`,
		"sinkfs_last_complete_checkpoint_timestamp_seconds 1.7000000005e+09",
		"sinkfs_oldest_unfinished_seconds 1.5",
		`sinkfs_part_bytes{state="committing"} 0`,
		`sinkfs_part_bytes{state="in_progress"} 0`,
		`sinkfs_part_bytes{state="pending"} 20`,
		`sinkfs_part_bytes{state="quarantined"} 0`,
		`sinkfs_parts{state="committing"} 0`,
		`sinkfs_parts{state="in_progress"} 0`,
		`sinkfs_parts{state="pending"} 2`,
		`sinkfs_parts{state="quarantined"} 0`,
		"sinkfs_passthrough 0",
		"sinkfs_restaged_parts_total 1",
		"sinkfs_scratch_bytes 6",
		"sinkfs_scratch_files 1",
		"sinkfs_sources 3",
		"sinkfs_spool_free_bytes 1000",
		"sinkfs_spool_used_bytes 31",
		`sinkfs_state{state="draining"} 0`,
		`sinkfs_state{state="recovering"} 0`,
		`sinkfs_state{state="running"} 1`,
		"sinkfs_target_since_timestamp_seconds 1.7000002e+09",
		`sinkfs_target_state{state="down"} 0`,
		`sinkfs_target_state{state="ok"} 1`,
		`sinkfs_target_state{state="refused"} 0`,
		`sinkfs_target_state{state="unknown"} 0`,
		"sinkfs_target_up 1",
		"sinkfs_unfinished_bytes 25",
		"sinkfs_writers 4",
	}
	if d := cmp.Diff(want, ours(t, m)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if asked != 1 {
		t.Errorf("one scrape took %d snapshots, want 1", asked)
	}
}

func TestTwoMountsDoNotMeet(t *testing.T) {
	none := func() metrics.Snapshot { return metrics.Snapshot{} }
	a, b := metrics.New(metrics.Build{}, none), metrics.New(metrics.Build{}, none)
	a.Finished("/", 1, 1)
	if got := ours(t, b); slices.ContainsFunc(got, func(l string) bool { return strings.HasPrefix(l, "sinkfs_finished") }) {
		t.Errorf("the second mount counts what the first one finished: %v", got)
	}
}

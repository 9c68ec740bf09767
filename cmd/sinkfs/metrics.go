package main

import (
	"context"
	"errors"
	"io"
	"runtime"
	"time"

	"github.com/sinkfs/sinkfs/internal/metrics"
	"github.com/sinkfs/sinkfs/lifecycle"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// meter counts what an instance does. It exists because neither lifecycle nor
// internal/metrics knows the other.
type meter struct {
	metrics *metrics.Metrics
	in      *lifecycle.Instance
	events  *lifecycle.Subscription
}

// newMeter subscribes at once, so that nothing is missed that follow counts
// later. writePath is the path in use, as the status has it.
func newMeter(in *lifecycle.Instance, writePath func() (path, reason string)) *meter {
	m := &meter{in: in, events: in.Subscribe()}
	m.metrics = metrics.New(metrics.Build{Version: version, Commit: commit, Go: runtime.Version()}, func() metrics.Snapshot {
		path, _ := writePath()
		return snapshotOf(in.Status(), path)
	})
	if last, ok := in.LastCheckpoint(); ok && last.State == journal.Complete {
		m.metrics.Succeeded(endOf(last))
	}
	return m
}

// Text is the content of .sinkfs/metrics.
func (m *meter) Text() ([]byte, error) { return m.metrics.Text() }

// follow counts events until ctx or the instance ends.
func (m *meter) follow(ctx context.Context) error {
	defer m.events.Close()
	for {
		e, err := m.events.Next(ctx)
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case e.Type == "restaged":
			m.metrics.Restaged()
		case e.Part != nil && e.Part.State == string(journal.Finished):
			m.metrics.Finished(e.Part.Sink, e.Part.Bytes, e.Part.Records)
		case e.Checkpoint != nil:
			m.metrics.Checkpoint(string(e.Checkpoint.State), took(*e.Checkpoint), endOf(*e.Checkpoint))
		}
	}
}

func took(c journal.Checkpoint) time.Duration { return time.Duration(c.DurationMS) * time.Millisecond }

func endOf(c journal.Checkpoint) time.Time { return c.Started.Add(took(c)) }

func snapshotOf(s lifecycle.Status, writePath string) metrics.Snapshot {
	m := metrics.Snapshot{
		Parts:            map[string]metrics.Count{},
		OldestUnfinished: s.OldestUnfinished,
		Sources:          len(s.Sources),
		ScratchFiles:     len(s.Scratch),
		SpoolUsed:        s.Spool.Used,
		SpoolFree:        s.Spool.Free,
		Alarm:            s.Alarm != "",
		TargetUp:         s.Target.State == "ok",
		Target:           s.Target.State,
		TargetSince:      s.Target.Since,
		Passthrough:      writePath == "passthrough",
		State:            string(s.State),
	}
	for state, n := range s.Counts {
		m.Parts[state] = metrics.Count{Parts: n.Parts, Bytes: n.Bytes}
	}
	for _, src := range s.Sources {
		m.UnfinishedBytes += src.Unfinished
		m.Writers += src.Writers
	}
	for _, f := range s.Scratch {
		m.ScratchBytes += f.Bytes
	}
	return m
}

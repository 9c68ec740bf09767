package lifecycle

import (
	"context"
	"errors"
	"os"

	"github.com/sinkfs/sinkfs/lifecycle/audit"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// AuditState is what the instance knows at this moment, for fsck.
func (in *Instance) AuditState(context.Context) (audit.State, error) {
	sources, err := audit.Sources(in.tree)
	if err != nil {
		return audit.State{}, err
	}
	retired, err := in.retiredParts()
	if err != nil {
		return audit.State{}, err
	}
	st := audit.State{Sources: sources, Retired: retired, Records: []journal.Record{in.record}}
	for _, s := range in.allSources() {
		s.mu.Lock()
		st.Records = append(st.Records, s.record(s.finished, s.marks))
		s.mu.Unlock()
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for name, next := range in.counters {
		st.Records = append(st.Records, journal.Counter{Sink: name, Next: next})
	}
	for _, p := range in.parts {
		st.Records = append(st.Records, p.Part)
	}
	return st, nil
}

// retiredParts are the finished parts that retained manifests tell of.
func (in *Instance) retiredParts() ([]journal.Part, error) {
	var parts []journal.Part
	for _, id := range in.Checkpoints() {
		m, err := in.Manifest(id)
		if errors.Is(err, os.ErrNotExist) {
			continue // expired since
		}
		if err != nil {
			return nil, err
		}
		for _, f := range m.Files {
			if f.State != deleted {
				parts = append(parts, journal.Part{
					ID: f.Part, Key: f.Key, Bytes: f.Bytes, Checksum: f.Checksum, State: journal.Finished, Checkpoint: f.Checkpoint,
				})
			}
		}
	}
	return parts, nil
}

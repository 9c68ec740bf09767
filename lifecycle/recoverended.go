package lifecycle

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// manifestsIn are the numbers of the manifests in a state directory, rising.
func manifestsIn(stateDir string) (ids []uint64) {
	entries, err := os.ReadDir(filepath.Join(stateDir, "manifests"))
	if err != nil {
		return nil // it was just made
	}
	for _, e := range entries {
		if id, err := strconv.ParseUint(strings.TrimSuffix(e.Name(), ".json"), 10, 64); err == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// SetManifestsAside renames the manifests that the journal of a state directory
// knows nothing of: it was restored, and will use their numbers again.
func SetManifestsAside(stateDir string) error {
	in := Instance{counters: map[string]uint64{}}
	in.cfg.StateDir = stateDir
	if _, err := in.load(func(fn func(journal.Record) error) error {
		return journal.Read(filepath.Join(stateDir, "journal"), fn)
	}); err != nil {
		return err
	}
	for _, id := range manifestsIn(stateDir) {
		if path := in.manifestPath(id); id > in.lastID {
			if err := os.Rename(path, path+".replaced"); err != nil {
				return fmt.Errorf("manifest %d, newer than the journal: %w", id, err)
			}
		}
	}
	return nil
}

// recoverManifests takes up what the manifests of the process before tell. One
// with a part is written when the journal has had the checkpoint for long: a
// journal that does not know it is older, copied back with its anchor.
func (in *Instance) recoverManifests() error {
	in.retained = manifestsIn(in.cfg.StateDir)
	ended := map[uint64]time.Time{}
	open := in.openCheckpoints()
	for _, id := range in.retained {
		if m, err := in.Manifest(id); err == nil {
			if id > in.lastID && len(m.Files) > 0 && m.Instance == in.uid {
				return fmt.Errorf("state directory %s: the journal is older than the manifests: it does not know checkpoint %d, which published %d files: rebuild it with '%s': %w",
					in.cfg.StateDir, id, len(m.Files), in.cfg.Remedy, ErrState)
			}
			in.recent = append(in.recent, m.Files...)
			ended[id] = m.Started.Add(time.Duration(m.DurationMS) * time.Millisecond)
			if len(m.Files) > 0 {
				in.filled = id
			}
			if !open[id] {
				in.owe(m.Checkpoint) // the process before may not have come to it
			}
		}
	}
	in.trimRecent()
	in.recoverLastParts(ended)
	return nil
}

// recoverLastParts finds the latest finished parts of sources in the manifests:
// the journal need not have them any more.
func (in *Instance) recoverLastParts(ended map[uint64]time.Time) {
	byPath := map[string]*source{}
	for _, s := range in.sources {
		if s.node.Kind() == spool.Stream && !s.node.Unlinked() {
			byPath[s.node.Path()] = s
		}
	}
	for _, p := range in.recent {
		for _, r := range p.Sources {
			// Bytes that it has not finished are those of an older file.
			if s := byPath[r.Path]; s != nil && r.Offset+r.Length <= s.finished.end() {
				s.finishedBy(ended[p.Checkpoint])
				s.published(lastPart{part: p.Part, checkpoint: p.Checkpoint, key: p.Key, checksum: p.Checksum})
			}
		}
	}
}

// recoverCheckpoints ends those of which nothing is left committing, and
// archives what the process before did not.
func (in *Instance) recoverCheckpoints(r recovery, done []*part) error {
	ended := in.endCheckpoints(r, done)
	records := in.untold(r, done)
	for _, c := range ended {
		records = append(records, c)
	}
	for _, c := range r.checkpoints {
		if c.ID == in.lastID {
			in.last = latest(in.last, c)
		}
	}
	for _, c := range ended {
		in.last = latest(in.last, c)
	}
	if err := in.write(in.journal.Write, records...); err != nil {
		return fmt.Errorf("state directory %s: %w: %w", in.cfg.StateDir, ErrState, err)
	}
	for _, p := range done { // ended before, its manifest may have been lost
		known := func(c journal.Checkpoint) bool { return c.ID == p.Checkpoint }
		if c, ok := r.checkpoints[p.Checkpoint]; ok && !slices.ContainsFunc(ended, known) {
			ended = append(ended, c)
		}
	}
	in.archive(done, ended)
	return nil
}

// untold are the sources of finished parts of which the process before did not
// come to journal that: their parts are about to leave the journal.
func (in *Instance) untold(r recovery, done []*part) []journal.Record {
	in.recording.Lock()
	defer in.recording.Unlock()
	var records []journal.Record
	seen := map[*source]bool{}
	for _, p := range done {
		for _, s := range p.sources {
			if s == nil || p.File || seen[s] || slices.Equal(s.finished, rangeSet(r.sources[s.id].Finished)) {
				continue
			}
			seen[s] = true
			records = append(records, s.record())
		}
	}
	return records
}

// endCheckpoints are the checkpoints that the process before prepared and of
// which every part is finished, as they ended.
func (in *Instance) endCheckpoints(r recovery, done []*part) []journal.Checkpoint {
	open := in.openCheckpoints()
	var ended []journal.Checkpoint
	for _, c := range r.checkpoints {
		switch {
		case c.State == journal.Declined && c.ID < in.lastID:
			in.garbage = append(in.garbage, journal.DropCheckpoint{ID: c.ID})
		case c.State == journal.Declined:
			in.lastDeclined = c.ID
		case c.State != journal.Prepared && c.State != journal.Partial:
		case open[c.ID]:
			in.partial[c.ID] = c
		default:
			ended = append(ended, endOf(c, done))
		}
	}
	return ended
}

// endOf is a checkpoint with the parts that it finished and did not count.
func endOf(c journal.Checkpoint, done []*part) journal.Checkpoint {
	if c.State == journal.Partial {
		done = nil // it has counted what it finished
	}
	c.State = journal.Complete
	if len(c.Failed) > 0 {
		c.State = journal.Partial // parts that were declined, not left behind
	}
	for _, p := range done {
		if p.Checkpoint == c.ID {
			c.Parts++
			c.Bytes += p.Bytes
			c.Records += p.Records
		}
	}
	return c
}

func latest(a *journal.Checkpoint, b journal.Checkpoint) *journal.Checkpoint {
	if a == nil || b.ID >= a.ID {
		return &b
	}
	return a
}

package lifecycle

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

const (
	// recentParts is how many finished parts Parts shows.
	recentParts = 1000
	// recentSources is how many ranges of sources all of them show together:
	// the oldest of parts of very many sources are in manifests only.
	recentSources = 100_000
)

// Manifest is a checkpoint with every part that it published.
type Manifest struct {
	journal.Checkpoint
	Instance string       `json:"instance"`
	Previous uint64       `json:"previous"` // the last checkpoint before that published something, 0: none
	Files    []PartStatus `json:"files"`
}

// archive writes the manifests of checkpoints that published something. Their
// parts leave the journal with its next write.
func (in *Instance) archive(done []*part, ended []journal.Checkpoint) {
	files := map[uint64][]PartStatus{}
	for _, p := range done {
		files[p.Checkpoint] = append(files[p.Checkpoint], in.partStatus(p))
	}
	for _, c := range ended {
		if err := in.archiveOne(c, files[c.ID]); err != nil {
			in.fail(err)
			in.log.Error("manifest cannot be written, the journal keeps its parts", slog.Uint64("checkpoint", c.ID), slog.Any("error", err))
			return
		}
	}
	in.mu.Lock()
	for _, p := range done {
		if !p.File { // a file's part stays until its spool file is gone for good
			in.garbage = append(in.garbage, journal.DropPart{ID: p.ID})
		}
		known := func(r PartStatus) bool { return r.Part == p.ID }
		if !slices.ContainsFunc(in.recent, known) { // a start finds it in a manifest too
			in.recent = append(in.recent, in.partStatusLocked(p))
		}
	}
	in.trimRecent()
	open := in.openCheckpoints()
	for _, c := range ended {
		if open[c.ID] {
			in.partial[c.ID] = c
		} else {
			delete(in.partial, c.ID)
			in.owe(c)
		}
		if i, found := slices.BinarySearch(in.retained, c.ID); !found {
			in.retained = slices.Insert(in.retained, i, c.ID)
		}
	}
	in.expireManifests()
	renew := len(in.past) >= expiredAtOnce || in.evidence.missing()
	in.mu.Unlock()
	if renew {
		if err := in.renewEvidence(); err != nil {
			in.log.Warn("the base of a rebuild is not renewed", slog.Any("error", err))
		}
	}
}

// openCheckpoints are those with a part that is still committing. in.mu is
// held.
func (in *Instance) openCheckpoints() map[uint64]bool {
	open := map[uint64]bool{}
	for _, p := range in.parts {
		if p.State == journal.Committing {
			open[p.Checkpoint] = true
		}
	}
	return open
}

// trimRecent bounds what is remembered of finished parts. in.mu is held.
func (in *Instance) trimRecent() {
	in.recent = slices.Delete(in.recent, 0, max(0, len(in.recent)-recentParts))
	sources := 0
	for i := len(in.recent) - 1; i >= 0; i-- {
		if sources += len(in.recent[i].Sources); sources > recentSources {
			in.recent[i].Sources = []PartSource{}
		}
	}
}

func (in *Instance) archiveOne(c journal.Checkpoint, files []PartStatus) error {
	in.manifests.Lock()
	defer in.manifests.Unlock()
	m := Manifest{Checkpoint: c, Instance: in.uid, Files: []PartStatus{}}
	if before, err := in.Manifest(c.ID); err == nil {
		m.Files, m.Previous = before.Files, before.Previous
	} else if in.filled < c.ID {
		m.Previous = in.filled
	}
	for _, f := range files {
		if !slices.ContainsFunc(m.Files, func(b PartStatus) bool { return b.Part == f.Part }) {
			m.Files = append(m.Files, f)
		}
	}
	slices.SortFunc(m.Files, func(a, b PartStatus) int { return cmp.Compare(a.Part, b.Part) })
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("manifest %d: %w", c.ID, err)
	}
	if err := in.reserve.spend(func() error { return writeFile(in.manifestPath(c.ID), data, len(files) > 0) }); err != nil {
		return err
	}
	if len(m.Files) > 0 {
		in.filled = max(in.filled, c.ID)
	}
	return nil
}

// deleted is the state of a finished file that a program removed since.
const deleted = "deleted"

// markDeleted notes in the retained manifests that a finished file is gone on
// purpose, so that fsck does not miss it.
func (in *Instance) markDeleted(key string) error {
	in.mu.Lock()
	for i := range in.recent {
		if in.recent[i].Key == key {
			in.recent[i].State = deleted
		}
	}
	in.mu.Unlock()
	noted := false
	in.manifests.Lock()
	defer in.manifests.Unlock()
	in.mu.Lock()
	ids := slices.Concat(in.past, in.retained)
	in.mu.Unlock()
	for _, id := range ids {
		m, err := in.Manifest(id)
		if err != nil {
			continue // removed since
		}
		i := slices.IndexFunc(m.Files, func(f PartStatus) bool { return f.Key == key && f.State != deleted })
		if i < 0 {
			continue // or it had the name before another one, and was deleted then
		}
		noted, m.Files[i].State = true, deleted
		data, err := json.Marshal(m)
		if err != nil {
			return err
		}
		if err := writeFile(in.manifestPath(id), data, true); err != nil {
			return err
		}
	}
	if noted {
		return nil
	}
	in.sweep() // it may be older than the manifests, in a journal that had no reason yet to forget it
	return in.write(in.journal.Write)
}

// expiredAtOnce is how many manifests past retention wait for a new base of a
// rebuild, which has to hold what they tell before they go.
const expiredAtOnce = 8

// owedAtMost is how many times as many manifests are kept as are retained, for
// a target that does not take them.
const owedAtMost = 10

// expireManifests forgets what is past retention. in.mu is held.
func (in *Instance) expireManifests() {
	open := in.openCheckpoints()
	for len(in.retained) > in.cfg.Retain {
		id := in.retained[0]
		if open[id] || slices.Contains(in.owed, id) && len(in.retained) <= owedAtMost*in.cfg.Retain {
			return
		}
		delete(in.partial, id) // the last part of it was quarantined
		in.past = append(in.past, id)
		in.garbage = append(in.garbage, journal.DropCheckpoint{ID: id})
		in.retained = in.retained[1:]
	}
}

func (in *Instance) manifestPath(id uint64) string {
	return filepath.Join(in.cfg.StateDir, "manifests", fmt.Sprintf("%d.json", id))
}

// Manifest is what checkpoint id published, while it is retained; an error
// wrapping os.ErrNotExist otherwise.
func (in *Instance) Manifest(id uint64) (Manifest, error) {
	var m Manifest
	data, err := os.ReadFile(in.manifestPath(id))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("manifest %d: %w", id, err)
	}
	return m, nil
}

// Checkpoints are the ids of the retained checkpoints, ascending.
func (in *Instance) Checkpoints() []uint64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.retained)
}

// owe notes that the target is to have the manifest of a checkpoint that
// published something and of which nothing is left. in.mu is held.
func (in *Instance) owe(c journal.Checkpoint) {
	if !in.cfg.Manifests || c.Parts == 0 {
		return
	}
	if i, found := slices.BinarySearch(in.owed, c.ID); !found {
		in.owed = slices.Insert(in.owed, i, c.ID)
	}
}

// oweLate owes the manifests of checkpoints of which the last part left was
// quarantined: nothing more is finished of them.
func (in *Instance) oweLate() {
	in.mu.Lock()
	defer in.mu.Unlock()
	open := in.openCheckpoints()
	for id, c := range in.partial {
		if !open[id] {
			delete(in.partial, id)
			in.owe(c)
		}
	}
}

// sendManifests puts the manifests into the target that it does not have yet,
// and reports whether it has all. What fails is tried again.
func (in *Instance) sendManifests(ctx context.Context) bool {
	in.oweLate()
	in.mu.Lock()
	owed := slices.Clone(in.owed)
	in.mu.Unlock()
	for _, id := range owed {
		err := in.sendManifest(ctx, id)
		if err != nil && ctx.Err() != nil {
			return false // a checkpoint is asked for
		}
		if err != nil {
			in.fail(err)
			in.log.Warn("manifest is not in the target", slog.Uint64("checkpoint", id), slog.Any("error", err))
			return false
		}
		in.mu.Lock()
		in.owed = slices.DeleteFunc(in.owed, func(o uint64) bool { return o == id })
		in.mu.Unlock()
	}
	return true
}

func (in *Instance) sendManifest(ctx context.Context, id uint64) error {
	data, err := os.ReadFile(in.manifestPath(id))
	if errors.Is(err, os.ErrNotExist) {
		in.log.Error("a manifest was not taken by the target until it was past retention: rebuilding a lost journal may need it", slog.Uint64("checkpoint", id))
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, in.cfg.CommitTimeout)
	defer cancel()
	_, err = in.store.Put(ctx, backend.Object{
		Key:  backend.Key(fmt.Sprintf("%s/%s/%d.json", ManifestName, in.uid, id)),
		Size: int64(len(data)), Mode: streamMode, UID: in.cfg.UID, GID: in.cfg.GID, ModTime: time.Now(),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		Meta: backend.Meta{MetaInstance: in.uid},
	})
	if errors.Is(err, backend.ErrExist) {
		return nil // sent before, by this process or another
	}
	return err
}

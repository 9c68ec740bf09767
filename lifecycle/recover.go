package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle/catalog"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

const (
	// recordsVersion is the version of the journal's records.
	recordsVersion = 1
	// firstContact is how long a target that was never reached may take: a
	// mount of it has an answer within 15 s, with its start and end.
	firstContact = 12 * time.Second
	// firstTries is how long a target that fails at once is asked again.
	firstTries = 3 * time.Second
)

// Open recovers the state directory: the journal is verified, the spool
// scanned, no data re-read, and the store is asked only when it was never
// reached with this state directory (12 s, else ErrTarget). Errors wrap
// ErrState or ErrTarget and say what to do.
func Open(ctx context.Context, c Config) (*Instance, error) {
	c.setDefaults()
	in := &Instance{
		cfg: c, log: c.Log, now: time.Now, store: c.Store, cat: catalog.New(c.Store, catalog.Options{Log: c.Log}),
		follower: newFollower(), growing: newGrowQueue(), rounds: rounds{wake: make(chan struct{}, 1)}, state: Recovering,
		sources: map[uint64]*source{}, lingering: map[*source]bool{}, parts: map[uint64]*part{},
		counters: map[string]uint64{}, partial: map[uint64]journal.Checkpoint{},
	}
	in.events, in.succeeded = newEvents(in.now), in.now()
	in.target = health{now: in.now, state: "unknown", since: in.now().UTC()}
	in.kept.give(keepBudget)
	if g, ok := c.Store.(backend.Grower); ok && c.Store.Properties().Grows {
		in.grower = g
	}
	in.dirs, _ = c.Store.(backend.DirRemover)
	in.addSinks(c.Sinks)
	if err := os.MkdirAll(filepath.Join(c.StateDir, "manifests"), 0o700); err != nil {
		return nil, fmt.Errorf("state directory %s: %w: %w", c.StateDir, ErrState, err)
	}
	var err error
	if in.tree, err = spool.Open(c.SpoolDir, c.Log); err != nil {
		return nil, fmt.Errorf("spool %s: %w: %w", c.SpoolDir, ErrState, err)
	}
	in.reserve, in.evidence = newReserve(c.StateDir, c.Log), newEvidence(c.StateDir, c.Log)
	err = in.reserve.spend(func() (err error) {
		in.journal, err = journal.Open(journal.Options{Dir: filepath.Join(c.StateDir, "journal"), Log: c.Log, Entries: c.entries})
		return err
	})
	if err != nil {
		return nil, errors.Join(c.ofJournal(err), in.tree.Close())
	}
	if err := in.recover(ctx); err != nil {
		return nil, errors.Join(err, in.journal.Close(), in.tree.Close())
	}
	in.firstEvidence()
	in.reserve.fill()
	return in, nil
}

func (in *Instance) addSinks(sinks []Sink) {
	for _, s := range sinks {
		in.sinks = append(in.sinks, &s)
	}
	if !slices.ContainsFunc(in.sinks, func(s *Sink) bool { return s.Path == "" }) {
		s := DefaultSink()
		in.sinks = append(in.sinks, &s)
	}
}

// recovery is what the journal says of the process before.
type recovery struct {
	instance    *journal.Instance
	sources     map[journal.SourceID]journal.Source
	checkpoints map[uint64]journal.Checkpoint
	parts       []journal.Part
	uploads     []journal.Upload
}

// load takes what the journal says from read, which calls back with every
// record.
func (in *Instance) load(read func(fn func(journal.Record) error) error) (recovery, error) {
	r := recovery{sources: map[journal.SourceID]journal.Source{}, checkpoints: map[uint64]journal.Checkpoint{}}
	err := read(func(rec journal.Record) error {
		switch rec := rec.(type) {
		case journal.Instance:
			r.instance = &rec
		case journal.Counter:
			in.counters[rec.Sink] = rec.Next
		case journal.Source:
			r.sources[rec.ID] = rec
		case journal.Checkpoint:
			r.checkpoints[rec.ID] = rec
			in.lastID = max(in.lastID, rec.ID)
		case journal.Part:
			r.parts = append(r.parts, rec)
			in.lastID = max(in.lastID, rec.Checkpoint)
		case journal.Upload:
			r.uploads = append(r.uploads, rec)
		}
		return nil
	})
	if err != nil {
		return r, in.cfg.ofJournal(err)
	}
	return r, nil
}

func (in *Instance) recover(ctx context.Context) error {
	r, err := in.load(in.journal.Load)
	if err != nil {
		return err
	}
	now := in.now()
	byID := in.recoverTree(now)
	if err := in.identify(ctx, r); err != nil {
		return err
	}
	if err := in.agreeOnSinks(); err != nil {
		return err
	}
	var missing []journal.Source
	for id, rec := range r.sources {
		if s := byID[id]; s != nil {
			s.finished, s.marks = slices.Clone(rec.Finished), rec.Marks
		} else {
			missing = append(missing, rec)
		}
	}
	done, err := in.recoverParts(r, byID)
	if err != nil {
		return err
	}
	if err := errors.Join(in.recoverSources(now), in.recoverMissing(missing)); err != nil {
		return err
	}
	in.recoverUploads(r.uploads)
	if err := in.recoverManifests(); err != nil {
		return err
	}
	in.makeSinkDirs()
	return in.recoverCheckpoints(r, done)
}

// recoverTree makes the sources of what is in the spool.
func (in *Instance) recoverTree(now time.Time) map[journal.SourceID]*source {
	byID := map[journal.SourceID]*source{}
	for _, n := range byBirth(in.tree.All()) {
		s := in.newSource(n, now)
		in.sources[n.ID().Ino] = s
		byID[s.id] = s
	}
	return byID
}

// byBirth are the files among nodes, oldest first: of several that had one
// name, the records of the older go out first.
func byBirth(nodes []*spool.Node) []*spool.Node {
	files := slices.DeleteFunc(nodes, func(n *spool.Node) bool { return n.Kind() == spool.Dir })
	born := map[*spool.Node]time.Time{}
	named := map[*spool.Node]int{}
	for _, n := range files {
		born[n] = n.Born()
		if !n.Unlinked() {
			named[n] = 1 // of two born in one tick, the one that still has the name is younger
		}
	}
	slices.SortFunc(files, func(a, b *spool.Node) int {
		return cmp.Or(born[a].Compare(born[b]), cmp.Compare(named[a], named[b]), cmp.Compare(a.ID().Ino, b.ID().Ino))
	})
	return files
}

// ofJournal adds to an error of the journal what to do.
func (c *Config) ofJournal(err error) error {
	if errors.Is(err, journal.ErrDamaged) || errors.Is(err, journal.ErrBehind) || errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("state directory %s: %w: %w: rebuild it with '%s'", c.StateDir, ErrState, err, c.Remedy)
	}
	return fmt.Errorf("state directory %s: %w: %w", c.StateDir, ErrState, err)
}

func (c *Config) emptyJournal(files int) error {
	return fmt.Errorf("state directory %s: the journal is gone or empty, but it was in use and its spool holds files (%d): rebuild it with '%s', or name the right state directory: %w",
		c.StateDir, files, c.Remedy, ErrState)
}

func (in *Instance) recoverSources(now time.Time) error {
	for _, s := range in.allSources() {
		if s.node.Done() > s.finished.prefix() {
			return fmt.Errorf("state directory %s: the journal is older than the spool: %q was released up to byte %d, the journal knows %d: rebuild it with '%s': %w",
				in.cfg.StateDir, s.node.Path(), s.node.Done(), s.finished.prefix(), in.cfg.Remedy, ErrState)
		}
		st, err := s.node.Stat()
		if err != nil {
			return fmt.Errorf("spool file %q: %w: %w", s.node.Path(), ErrState, err)
		}
		if st.Ctime.Before(now) {
			s.touched = onClock(st.Ctime, now)
		}
		if s.node.Kind() == spool.Stream {
			if err := in.checkLength(s, st.Size); err != nil {
				return err
			}
			in.punchAgain(s, st)
			if err := s.restore(now); err != nil {
				return fmt.Errorf("spool file %q: %w: %w", s.node.Path(), ErrState, err)
			}
		} else if s.node.Unlinked() {
			s.gone = true // discarded
		}
		if s.gone {
			in.lingering[s] = true
			if err := in.unname(s); err != nil {
				return fmt.Errorf("spool file %q: %w: %w", s.node.Path(), ErrState, err)
			}
			continue
		}
		in.follower.add(s, now)
	}
	return nil
}

// checkLength refuses a spool file that is shorter than what the journal knows
// of it. Something cut it: what a program appends next would lie where the
// journal has other bytes as sealed already, and would never be published.
func (in *Instance) checkLength(s *source, size int64) error {
	end := s.taken().end()
	if size >= end {
		return nil
	}
	remedy := "put the spool file back"
	if s.sealed.end() <= size { // all that is missing is in the target
		remedy += fmt.Sprintf(", or make it that long with 'truncate -s %d' if what it held beyond byte %d is lost", end, end)
	}
	return fmt.Errorf("state directory %s: the spool file of %q was cut: it has %d bytes, the journal knows %d: %s: %w",
		in.cfg.StateDir, s.node.Path(), size, end, remedy, ErrState)
}

// punchAgain frees what the process before noted as released and did not come
// to free.
func (in *Instance) punchAgain(s *source, st spool.Stat) {
	const block = 512
	if done := s.node.Done(); done > 0 && st.Blocks*block > st.Size-done+page {
		if err := s.node.Punch(0, done); err != nil {
			in.log.Warn("spool bytes are not released", slog.String("path", s.node.Path()), slog.Any("error", err))
		}
	}
}

// Package lifecycle turns what programs append to the files of a spool into
// finished part files in a store, by the rules of Flink's FileSink: buckets,
// rolling policies, in-progress, pending, finished, and checkpoints.
//
// The way of a byte: source.go observes it in its spool file, segment.go cuts
// it, seal.go packs it into a part, stage.go and commit.go bring the part to
// the store. The way of a checkpoint is checkpoint.go from top to bottom.
package lifecycle

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle/catalog"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// ReadUnfinished says who may read what is not finished yet.
type ReadUnfinished string

// The values of ReadUnfinished.
const (
	ReadNone  ReadUnfinished = "none"
	ReadOwner ReadUnfinished = "owner" // and root
	ReadAll   ReadUnfinished = "all"
)

// Config is all that an Instance is told.
type Config struct {
	StateDir string // exists, locked by the caller, mode 0700
	SpoolDir string // default StateDir/spool
	Target   string // as the user wrote it, for messages
	Remedy   string // the command that rebuilds a lost journal, for messages
	Store    backend.Store
	Sinks    []Sink // one at "" is added when there is none
	Batch    bool   // publish nothing before the end of input

	Interval          time.Duration // of timer checkpoints, 0: none
	CheckpointTimeout time.Duration // default 10m
	CommitTimeout     time.Duration // per part without progress, default 30s
	AlarmAfter        time.Duration // default 3m: nothing published although there is something to publish
	Retain            int           // default 10: checkpoints whose manifests stay in the state directory
	Manifests         bool          // write them to _sinkfs/<instance>/<id>.json in the target too
	SourceTTL         time.Duration // default 24h
	ReadUnfinished    ReadUnfinished
	UID, GID          uint32 // owner of stream parts and implied directories
	DirMode           uint32 // of implied directories, default 0755
	Log               *slog.Logger
	Observer          Observer

	entries int // of a journal transaction; tests only
}

func (c *Config) setDefaults() {
	setDefault(&c.SpoolDir, c.StateDir+"/spool")
	setDefault(&c.Remedy, fmt.Sprintf("sinkfs journal restore --from-target --state-dir %s %s", c.StateDir, c.Target))
	setDefault(&c.CheckpointTimeout, 10*time.Minute)
	setDefault(&c.CommitTimeout, 30*time.Second)
	setDefault(&c.AlarmAfter, 3*time.Minute)
	setDefault(&c.Retain, 10)
	setDefault(&c.SourceTTL, 24*time.Hour)
	setDefault(&c.ReadUnfinished, ReadOwner)
	setDefault(&c.DirMode, 0o755)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

func setDefault[T comparable](p *T, d T) {
	var zero T
	if *p == zero {
		*p = d
	}
}

// Observer is told what the mount must know at once, from the goroutine that
// does it: it must not block and must not call back. For all else there are
// events.
type Observer struct {
	// Removing is called before a spool file is removed for good: nothing
	// may refer to its inode from here on.
	Removing func(ino uint64)
}

// Instance is one state directory at work: it owns the spool, the journal and
// the way of every byte from one to the other and to the store.
//
// Locks, in the order in which they are taken: names, a source's mu, mu.
type Instance struct {
	cfg      Config
	log      *slog.Logger
	now      func() time.Time
	uid      string
	record   journal.Instance
	sinks    []*Sink
	store    backend.Store
	cat      *catalog.Catalog
	tree     *spool.Tree
	journal  *journal.Journal
	reserve  *reserve
	evidence *evidence
	filled   uint64 // the newest checkpoint with something in its manifest; of the goroutine that archives
	events   *events
	follower *follower
	grower   backend.Grower // nil: the store takes nothing that grows
	growing  *growQueue
	dirs     backend.DirRemover // nil: the store has no directories of its own
	strayed  notifier           // a growth was given up
	target   health
	released notifier // some handle was released
	kept     budget
	rounds   rounds

	names     sync.Mutex // one change of names at a time
	recording sync.Mutex // the records of sources are journaled in the order in which they are made; taken after a source's mu
	manifests sync.Mutex // one change of a manifest at a time
	numbering sync.Mutex // numbers are journaled in the order in which they are taken

	mu           sync.Mutex
	sources      map[uint64]*source // by inode number
	lingering    map[*source]bool   // to be removed once nobody uses them
	births       uint64
	parts        map[uint64]*part // not finished
	counters     map[string]uint64
	removals     []removal
	strays       []stray
	garbage      []journal.Record // to drop with the next write
	lastID       uint64           // of the newest checkpoint
	lastDeclined uint64           // of the newest that was declined, 0: none
	last         *journal.Checkpoint
	partial      map[uint64]journal.Checkpoint // with parts still committing
	owed         []uint64                      // checkpoints whose manifest the target does not have, ascending
	retained     []uint64                      // checkpoints with a manifest
	past         []uint64                      // past retention, the manifest is still there
	recent       []PartStatus                  // finished, oldest first
	state        State
	lost         []LostSource // whose spool file somebody removed
	succeeded    time.Time    // last complete checkpoint, or the start
	alarm        string
	lastError    string
}

// Run finishes what an earlier process left prepared, follows the sources,
// and makes checkpoints, until ctx ends; it then waits for a running
// checkpoint to stop. An error says that only a new start can go on. Called
// once.
func (in *Instance) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return in.follow(ctx) })
	g.Go(func() error { return in.serve(ctx) })
	g.Go(func() error { return in.keepHouse(ctx) })
	g.Go(func() error { return in.grow(ctx) })
	g.Go(func() error { return in.sweepStrays(ctx) })
	g.Go(func() error { return in.watchJournal(ctx) })
	for d := range in.checkIntervals() {
		g.Go(func() error { return in.checkRolling(ctx, d) })
	}
	return g.Wait()
}

// watchJournal ends Run when the journal does not know any more what is
// durable: only a new start finds out.
func (in *Instance) watchJournal(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-in.journal.Broken():
		return fmt.Errorf("state directory %s: %w: %w", in.cfg.StateDir, ErrState, journal.ErrBroken)
	}
}

// Close gives spool and journal back. Run must have returned.
func (in *Instance) Close() error {
	in.events.close()
	in.evidence.close()
	err := in.journal.Close()
	if cerr := in.tree.Close(); err == nil {
		err = cerr
	}
	return err
}

// UID is the instance's uid, part of every name that it makes.
func (in *Instance) UID() string { return in.uid }

// Catalog is what readers see.
func (in *Instance) Catalog() *catalog.Catalog { return in.cat }

// Left is what is not finished.
type Left struct {
	Bytes   int64
	Empty   int // whole files of no bytes
	Writers int // handles that still write
}

// None says that everything is finished.
func (l Left) None() bool { return l.Bytes == 0 && l.Empty == 0 }

// Unpublished is what is left now, for the exit code of an unmount.
func (in *Instance) Unpublished() Left {
	var l Left
	for _, s := range in.allSources() {
		s.mu.Lock()
		in.addLeft(&l, s)
		s.mu.Unlock()
	}
	return l
}

// addLeft is called with s.mu held.
func (in *Instance) addLeft(l *Left, s *source) {
	l.Writers += s.writers
	if s.gone || s.node.Kind() == spool.Scratch {
		return
	}
	size, err := s.node.Size()
	if err != nil {
		return
	}
	l.Bytes += size - s.finished.bytes()
	if size == 0 && s.node.Kind() == spool.File && !s.node.Unlinked() {
		l.Empty++
	}
}

func (in *Instance) allSources() []*source {
	in.mu.Lock()
	defer in.mu.Unlock()
	all := make([]*source, 0, len(in.sources))
	for _, s := range in.sources {
		all = append(all, s)
	}
	return all
}

// fail remembers the last error for the status.
func (in *Instance) fail(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.lastError = in.now().UTC().Format(time.RFC3339) + " " + err.Error()
}

// notifier wakes all who wait.
type notifier struct {
	mu sync.Mutex
	ch chan struct{}
}

// wait returns a channel that the next notify closes.
func (n *notifier) wait() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch == nil {
		n.ch = make(chan struct{})
	}
	return n.ch
}

func (n *notifier) notify() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch != nil {
		close(n.ch)
		n.ch = nil
	}
}

package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle/audit"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// RebuildOptions say what a Rebuild may do.
type RebuildOptions struct {
	DryRun bool // change nothing
	// Unproved publishes what is not proved finished, perhaps a second time.
	Unproved bool
	// Instances are uids that the state directory had, where nothing says it
	// any more.
	Instances []string
}

// Rebuilt is what a Rebuild found and made; of a dry run, or beside an error,
// what it would make.
type Rebuilt struct {
	Instance   string          `json:"instance"` // the uid from now on
	Former     []string        `json:"former"`   // uids up to now
	Parts      int             `json:"parts"`    // that are known to be finished
	Objects    int             `json:"objects"`  // of them seen in the target
	Checkpoint uint64          `json:"checkpoint"`
	Sources    []RebuiltSource `json:"sources"`
	Gaps       []string        `json:"gaps"` // what is missing, so that there may be more that is finished
	Warnings   []string        `json:"warnings"`
	Uploads    []audit.Row     `json:"uploads"` // given up
	Left       []audit.Row     `json:"left"`    // uploads that may be another host's
	Kept       string          `json:"kept"`    // where the old journal is, "" when there was none
}

// RebuiltSource is what is known of one spool file.
type RebuiltSource struct {
	Path       string `json:"path"`
	Bytes      int64  `json:"bytes"`
	Finished   int64  `json:"finished"`
	Unfinished int64  `json:"unfinished"` // will be published
	Unproved   string `json:"unproved"`   // why some of that may be finished, "" when none is
}

// ErrUnproved is a rebuild that would have to guess.
var ErrUnproved = errors.New("it is not proved what is finished")

// Rebuild makes a new journal of what the spool, the manifests, the notes of
// the old journal and the target tell. The caller holds the lock of the state
// directory. The instance gets a new uid, so that no name is used again; the
// old journal is kept beside the new one. Where finished bytes cannot be told
// from unfinished ones it is ErrUnproved, and nothing has changed.
func Rebuild(ctx context.Context, c Config, o RebuildOptions) (r Rebuilt, err error) {
	c.setDefaults()
	tree, err := spool.Open(c.SpoolDir, c.Log)
	if err != nil {
		return r, fmt.Errorf("spool %s: %w: %w", c.SpoolDir, ErrState, err)
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	b := &rebuild{cfg: c, o: o, tree: tree, known: newKnown(c.Store.Properties().StageAbove)}
	if err := b.gather(ctx); err != nil {
		return r, err
	}
	if err := b.judge(); err != nil {
		return b.out, err
	}
	if err := b.make(); err != nil {
		return b.out, err
	}
	if err := b.uploads(ctx); err != nil {
		return b.out, fmt.Errorf("uploads at the target: %w: %w", ErrTarget, err)
	}
	if n := b.unproved(); n > 0 && !o.Unproved {
		return b.out, fmt.Errorf("of %d spool files %w: %s; --publish-unproved publishes that again", n, ErrUnproved, b.firstReason())
	}
	if o.DryRun {
		b.out.Instance = "" // it takes another each time
		return b.out, nil
	}
	if err := b.giveUp(ctx); err != nil {
		return b.out, err
	}
	return b.out, b.write()
}

// rebuild is one Rebuild on its way.
type rebuild struct {
	cfg     Config
	o       RebuildOptions
	tree    *spool.Tree
	known   *known
	out     Rebuilt
	records []journal.Record
}

func (b *rebuild) unproved() (n int) {
	for _, s := range b.out.Sources {
		if s.Unproved != "" {
			n++
		}
	}
	return n
}

func (b *rebuild) firstReason() string {
	for _, s := range b.out.Sources {
		if s.Unproved != "" {
			return fmt.Sprintf("%q, %s", s.Path, s.Unproved)
		}
	}
	return ""
}

// judge decides for each spool file what is finished.
func (b *rebuild) judge() error {
	b.out = Rebuilt{
		Former: b.known.instances(), Parts: len(b.known.finished), Objects: b.known.objects, Checkpoint: b.known.lastID,
		Sources: []RebuiltSource{}, Gaps: b.known.gaps, Warnings: b.known.warnings, Uploads: []audit.Row{}, Left: []audit.Row{},
	}
	for _, n := range byBirth(b.tree.All()) {
		switch n.Kind() {
		case spool.Stream:
			if err := b.judgeStream(n); err != nil {
				return err
			}
		case spool.File:
			if err := b.judgeFile(n); err != nil {
				return err
			}
		case spool.Scratch, spool.Dir:
		}
	}
	slices.SortStableFunc(b.out.Sources, func(x, y RebuiltSource) int { return cmp.Compare(x.Path, y.Path) })
	return nil
}

func idOf(n *spool.Node) journal.SourceID {
	id := n.ID()
	return journal.SourceID{Ino: id.Ino, Gen: id.Gen}
}

func (b *rebuild) judgeStream(n *spool.Node) error {
	size, err := n.Size()
	if err != nil {
		return fmt.Errorf("spool file %q: %w: %w", n.Path(), ErrState, err)
	}
	s := b.known.sources[idOf(n)]
	finished := rangeSet(s.Finished)
	if end := finished.end(); end > size {
		return fmt.Errorf("spool file %q was cut: it has %d bytes, %d are finished: make it that long with 'truncate -s %d': %w",
			n.Path(), size, end, end, ErrState)
	}
	row := RebuiltSource{Path: n.Path(), Bytes: size}
	if done := n.Done(); done > finished.prefix() {
		row.Unproved = fmt.Sprintf("it was released up to byte %d, what tells of its finished bytes ends at %d", done, finished.prefix())
		// What is released is finished, to the end of the record at least.
		end, err := b.recordEnd(n, done, size)
		if err != nil {
			return fmt.Errorf("spool file %q: %w: %w", n.Path(), ErrState, err)
		}
		finished = finished.with(journal.Range{Len: end})
	}
	row.Finished = finished.bytes()
	row.Unfinished = size - row.Finished
	row.Unproved = b.doubt(row)
	b.out.Sources = append(b.out.Sources, row)
	if marks := marksOf(n, s.Marks, finished.prefix(), size); len(finished)+len(marks) > 0 {
		b.records = append(b.records, journal.Source{ID: idOf(n), Path: n.Path(), Finished: finished, Marks: marks})
	}
	return nil
}

// doubt is why not all of a source's unfinished bytes are known to be that.
func (b *rebuild) doubt(row RebuiltSource) string {
	switch {
	case row.Unproved != "" || row.Unfinished == 0:
		return row.Unproved
	case len(b.known.gaps) > 0:
		return b.known.gaps[0]
	}
	return ""
}

// recordEnd is the end of the record that holds the last of the bytes up to
// done, of which nothing but zeros is left.
func (b *rebuild) recordEnd(n *spool.Node, done, size int64) (int64, error) {
	in := &Instance{}
	in.addSinks(b.cfg.Sinks)
	r := &reader{node: n}
	defer r.Close()
	end, ok, err := in.sinkOf(n.Path()).Format.Records.First(r, done, done, size)
	if !ok {
		end = size
	}
	return end, err
}

// marksOf are the marks that still count. The base of the file is one.
func marksOf(n *spool.Node, marks []journal.Mark, from, size int64) []journal.Mark {
	marks = slices.DeleteFunc(slices.Clone(marks), func(m journal.Mark) bool { return m.Off <= from || m.Off > size })
	base := n.Base()
	if base <= from || base > size {
		return marks
	}
	dir := filepath.Dir(n.Path())
	if dir == "." {
		dir = ""
	}
	return withMark(marks, journal.Mark{Off: base, Dir: dir, Torn: true})
}

func (b *rebuild) judgeFile(n *spool.Node) error {
	size, err := n.Size()
	if err != nil {
		return fmt.Errorf("spool file %q: %w: %w", n.Path(), ErrState, err)
	}
	row := RebuiltSource{Path: n.Path(), Bytes: size, Unfinished: size}
	p, finished := b.known.files[idOf(n)]
	switch {
	case finished && p.Bytes != size:
		return fmt.Errorf("spool file %q has %d bytes, part %d of it was published with %d at %q: move one of them away: %w",
			n.Path(), size, p.ID, p.Bytes, p.Key, ErrState)
	case finished:
		p.State, p.File = journal.Finished, true
		b.records = append(b.records, p)
		row.Finished, row.Unfinished = size, 0
	case n.Unlinked():
		row.Unfinished = 0 // discarded
	case len(b.known.gaps) > 0:
		row.Unproved = b.known.gaps[0]
	}
	b.out.Sources = append(b.out.Sources, row)
	return nil
}

// make completes the records of the new journal.
func (b *rebuild) make() error {
	uid, err := newUID()
	if err != nil {
		return err
	}
	b.out.Instance = uid
	props := b.cfg.Store.Properties()
	head := []journal.Record{journal.Instance{
		Version: recordsVersion, UID: uid, Former: b.out.Former, Target: b.cfg.Target, Identity: props.Identity,
		SpoolIno: b.tree.Ino(), Created: b.known.created, Reached: true,
	}}
	for sink, next := range b.known.counters {
		head = append(head, journal.Counter{Sink: sink, Next: next})
	}
	for _, c := range b.known.checkpoints {
		head = append(head, c)
	}
	// What was under way when the journal was lost has this number.
	head = append(head, journal.Checkpoint{
		ID: b.known.lastID + 1, State: journal.Declined, Trigger: string(Now), Started: time.Now().UTC(),
		LeftOut: []journal.Excuse{}, Failed: []journal.Failure{},
		Error: "the journal was lost and rebuilt: what this checkpoint published is kept, the rest is published by the next",
	})
	b.records = append(head, b.records...)
	return nil
}

// state is what an audit would see behind the rebuild.
func (b *rebuild) state() (audit.State, error) {
	sources, err := audit.Sources(b.tree)
	return audit.State{Records: b.records, Sources: sources}, err
}

func (b *rebuild) input() audit.Input {
	return audit.Input{Store: b.cfg.Store, State: func(context.Context) (audit.State, error) { return b.state() }}
}

// uploads finds those of the instance, and those that may be: at the key of a
// file another host may have begun one too.
func (b *rebuild) uploads(ctx context.Context) error {
	rows, err := audit.ExplainUploads(ctx, b.input(), b.known.keys)
	for _, r := range rows {
		switch {
		case r.Path == string(backend.Probe): // of any host, gc has it
		case r.Kind == audit.Abandoned:
			b.out.Uploads = append(b.out.Uploads, r)
		case slices.Contains(b.known.keys, backend.Key(r.Path)):
			r.Explanation = "at the key of a file of this spool; whose it is cannot be proved, 'sinkfs gc' removes it once the file is finished"
			b.out.Left = append(b.out.Left, r)
		}
	}
	return err
}

// giveUp aborts what an old process staged. Its last call may have got there
// meanwhile: what was aborted can not be completed any more, so one look tells.
func (b *rebuild) giveUp(ctx context.Context) error {
	for _, u := range b.out.Uploads {
		err := audit.Remove(ctx, b.input(), u)
		if err != nil && !errors.Is(err, audit.ErrReferenced) {
			b.out.Warnings = append(b.out.Warnings, fmt.Sprintf("the upload of %q stays, 'sinkfs gc' removes it: %v", u.Path, err))
		}
		if b.known.seen[backend.Key(u.Path)] {
			continue
		}
		switch _, err := b.cfg.Store.Stat(ctx, backend.Key(u.Path)); {
		case errors.Is(err, backend.ErrNotExist):
		case err != nil:
			return fmt.Errorf("target: %w: %w", ErrTarget, err)
		default:
			return fmt.Errorf("%q was published meanwhile, by a process that still runs or by the last call of one: run it again: %w", u.Path, ErrState)
		}
	}
	return nil
}

// keepFile keeps a file that is about to be replaced beside it.
func keepFile(path string) error {
	before := path + ".before"
	if err := os.Remove(before); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Link(path, before); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// write puts the new journal in the place of the old one.
func (b *rebuild) write() error {
	// Until it is there, what tells of the old one stays.
	dir := filepath.Join(b.cfg.StateDir, "journal")
	kept, err := journal.Replace(dir, b.records)
	if err != nil {
		return fmt.Errorf("state directory %s: %w: %w", b.cfg.StateDir, ErrState, err)
	}
	b.out.Kept = kept
	rest := filepath.Join(b.cfg.StateDir, evidenceDir)
	if err := os.MkdirAll(rest, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	base := filepath.Join(rest, baseName)
	backup := func(w io.Writer) error { return journal.Backup(dir, w) }
	err = keepFile(base)
	if err == nil {
		err = writeFileWith(base, backup, true)
	}
	if err != nil {
		return fmt.Errorf("the journal is rebuilt, what it can be rebuilt from again is not: %w: %w", ErrState, err)
	}
	return nil
}

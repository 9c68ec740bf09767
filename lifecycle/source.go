package lifecycle

import (
	"cmp"
	"io"
	"os"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// source is one spool file that programs write.
type source struct {
	node *spool.Node
	id   journal.SourceID
	sink *Sink
	seq  uint64 // order of birth: of two sources of one name, the older goes first

	mu         sync.Mutex // taken before Instance.mu
	cut        *cutter    // of a stream, nil until it holds something new
	sealed     rangeSet   // in parts that are not finished
	finished   rangeSet
	finishedAt time.Time        // when some of it was finished last, as far as that is known
	inHand     bool             // a checkpoint took segments of it that have no numbers yet
	marks      []journal.Mark   // where segments must end, ascending
	told       journal.Source   // the finished ranges and marks that the journal was told; guarded by Instance.recording
	last       lastPart         // of its parts that are finished
	part       *part            // of a file: the part that it is in, not finished
	ended      bool             // its file part is prepared: it counts as finished
	moving     bool             // of a file: its directory is being renamed, a part would have the old key
	leaving    bool             // the journal knows that its spool file goes
	missing    bool             // somebody else removed its spool file, and that was told
	gone       bool             // unlinked for good, or finished
	wasIn      *spool.Node      // the directory that had the name, once it is unlinked
	whenGone   []journal.Record // to be journaled once its removal is durable

	handles, writers int
	flushed          time.Time // last close of a descriptor: its RELEASE may still be on its way
	proven           bool      // no writer lives but those counted
	touched          time.Time // last open, close, growth, rename or setattr
	wrote            time.Time // last growth seen
	observed         time.Time // last look at the size
	offered          int64     // size when it was last looked for what can be sent

	next time.Time     // of the follower, guarded by its lock
	pace time.Duration // likewise
	slot int           // likewise; place in its heap, -1: not in it
}

// lastPart is the finished part that holds the newest bytes of a source, as far
// as its status tells of it; key is "" when there is none.
type lastPart struct {
	part, checkpoint uint64
	key, checksum    string
}

func lastPartOf(p journal.Part) lastPart {
	return lastPart{part: p.ID, checkpoint: p.Checkpoint, key: p.Key, checksum: p.Checksum}
}

// finishedBy notes that some of it was finished at that time.
func (s *source) finishedBy(at time.Time) {
	if at.After(s.finishedAt) {
		s.finishedAt = at
	}
}

// published notes a part that is finished. s.mu is held, or nobody else knows s.
func (s *source) published(l lastPart) {
	if s.last.key == "" || l.part >= s.last.part {
		s.last = l
	}
}

func (in *Instance) newSource(n *spool.Node, now time.Time) *source {
	id := n.ID()
	in.births++
	return &source{
		node: n, id: journal.SourceID{Ino: id.Ino, Gen: id.Gen}, sink: in.sinkOf(n.Path()), seq: in.births,
		touched: now, observed: now, slot: -1,
	}
}

// reader opens the spool file when the first byte is asked for: most looks at
// a source need none. It remembers its last read when that was a short one.
type reader struct {
	node *spool.Node
	f    *os.File
	last glimpse
}

func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	if r.f == nil {
		f, err := r.node.Open(os.O_RDONLY)
		if err != nil {
			return 0, err
		}
		r.f = f
	}
	n, err := r.f.ReadAt(p, off)
	if n <= glimpseSize {
		r.last = glimpse{off: off, data: slices.Clone(p[:n])}
	}
	return n, err
}

func (r *reader) Close() {
	if r.f != nil {
		_ = r.f.Close() // only read from
	}
}

// dir is the directory of the source, from the mount's root.
func (s *source) dir() string {
	d := path.Dir(s.node.Path())
	if d == "." {
		return ""
	}
	return d
}

// taken are the bytes that are in parts.
func (s *source) taken() rangeSet {
	t := slices.Clone(s.finished)
	for _, r := range s.sealed {
		t = t.with(r)
	}
	return t
}

// observe looks at the size and cuts what is new. It must be called with
// s.mu held.
func (s *source) observe(now time.Time) (grew bool, err error) {
	size, err := s.node.Size()
	if err != nil {
		return false, err
	}
	if s.cut == nil {
		if size <= s.taken().prefix() {
			s.observed = now
			return false, nil
		}
		s.cut = newCutter(s.sink.Format.Records, s.sink.Assigner, s.sink.Rolling, s.taken().prefix())
	}
	if size <= s.cut.seen {
		s.observed = now
		return false, nil
	}
	at, err := s.arrival(now)
	if err != nil {
		return false, err
	}
	r := &reader{node: s.node}
	defer r.Close()
	if err := s.cut.observe(r, s.sink.dirBelow(s.dir()), size, at); err != nil {
		return false, err
	}
	s.observed, s.wrote, s.touched = now, at, now
	return true, nil
}

// mayHaveGrown says that the last look at the size may be out of date: some
// program writes, or did since. s.mu is held.
func (s *source) mayHaveGrown() bool {
	return s.writers > 0 || !s.proven || !s.observed.After(s.touched)
}

// arrival is when the newest bytes came: now, unless that is another bucket
// than before. Then the file's mtime, which the kernel sets at each write,
// decides, within the time since the last look: a program may have set it.
func (s *source) arrival(now time.Time) (time.Time, error) {
	if s.cut.current == nil || s.sink.Assigner.ByRecord() || s.sink.Assigner.Assign(nil, now) == s.cut.current.bucket {
		return now, nil
	}
	st, err := s.node.Stat()
	if err != nil {
		return now, err
	}
	if now.Before(s.observed) { // the clock went back
		return now, nil
	}
	if st.Mtime.Before(s.observed) {
		return s.observed, nil
	}
	if st.Mtime.Before(now) {
		return onClock(st.Mtime, now), nil
	}
	return now, nil
}

// onClock is a time that a file system told, on the monotonic clock of now: an
// age does not change when somebody sets the other one.
func onClock(at, now time.Time) time.Time { return now.Add(at.Sub(now.Round(0))) }

// record is what the journal is told of the source. Instance.recording is held.
func (s *source) record() journal.Source {
	done := rangeSet(s.told.Finished).prefix()
	s.told.Marks = slices.DeleteFunc(slices.Clone(s.told.Marks), func(m journal.Mark) bool { return m.Off <= done })
	return journal.Source{ID: s.id, Path: s.node.Path(), Finished: s.told.Finished, Marks: s.told.Marks}
}

// restore cuts again what the process before had seen and not sealed. What
// lies between taken ranges was whole segments. The bytes came when the spool
// file was last written.
func (s *source) restore(now time.Time) error {
	st, err := s.node.Stat()
	if err != nil {
		return err
	}
	taken := s.taken()
	gaps := taken.gaps(0, st.Size)
	s.marks = slices.DeleteFunc(s.marks, func(m journal.Mark) bool { return m.Off > st.Size })
	s.told = journal.Source{Finished: s.finished, Marks: s.marks}
	s.marks = marksOf(s.node, s.marks, s.finished.prefix(), st.Size) // its base is one
	if len(gaps) == 0 {
		return nil
	}
	at := now
	if st.Mtime.Before(now) {
		at = onClock(st.Mtime, now)
	}
	s.wrote = at
	s.cut = newCutter(s.sink.Format.Records, s.sink.Assigner, s.sink.Rolling, gaps[0].Off)
	r := &reader{node: s.node}
	defer r.Close()
	for _, g := range gaps {
		if err := s.cut.skip(r, g.Off); err != nil {
			return err
		}
		if err := s.restoreGap(r, g, at); err != nil {
			return err
		}
		if end := g.Off + g.Len; end < st.Size { // a taken range follows: it begins a record
			if err := s.cut.endTorn(r, s.sink.dirBelow(s.dirAt(end)), at); err != nil {
				return err
			}
		}
	}
	if last := gaps[len(gaps)-1]; last.Off+last.Len < st.Size {
		return s.cut.skip(r, st.Size)
	}
	return nil
}

func (s *source) restoreGap(r io.ReaderAt, g journal.Range, at time.Time) error {
	from, to := g.Off, g.Off+g.Len
	for _, m := range s.marks {
		if m.Off <= from || m.Off > to {
			continue
		}
		dir := s.sink.dirBelow(m.Dir)
		if err := s.cut.observe(r, dir, m.Off, at); err != nil {
			return err
		}
		if m.Torn {
			if err := s.cut.endTorn(r, dir, at); err != nil {
				return err
			}
		}
		from = m.Off
	}
	if from == to {
		return nil
	}
	return s.cut.observe(r, s.sink.dirBelow(s.dirAt(to)), to, at)
}

// dirAt is the directory that the bytes before off were written in.
func (s *source) dirAt(off int64) string {
	for _, m := range s.marks {
		if off <= m.Off {
			return m.Dir
		}
	}
	return s.dir()
}

// idle says whether no descriptor and no mapping can write to the file. Those
// of this connection are counted; the lease finds those from before. What one
// of them wrote since the last look is still to be seen then.
func (in *Instance) idle(s *source) bool {
	if s.writers > 0 {
		return false
	}
	if s.proven && s.node.Kind() == spool.Stream {
		return true
	}
	before := s.proven
	s.proven = s.node.Idle() == nil
	if s.proven && !before {
		s.touched = in.now()
	}
	return s.proven
}

// size is the newest size seen, of a stream.
func (s *source) size() int64 {
	if s.cut != nil {
		return s.cut.seen
	}
	return s.taken().prefix()
}

// unfinished is how many bytes of a stream are not finished.
func (s *source) unfinished() int64 { return s.size() - s.finished.bytes() }

// older orders sources for packing: by path, and of one path by birth.
func older(a, b *source) int {
	return cmp.Or(cmp.Compare(a.node.Path(), b.node.Path()), cmp.Compare(a.seq, b.seq))
}

package lifecycle

import (
	"errors"
	"fmt"
	"log/slog"
	"syscall"

	"github.com/sinkfs/sinkfs/internal/fault"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// Use says what a handle does to its file.
type Use struct{ Read, Write bool }

// OpenFile counts a handle of an unfinished file: a file part it was in, not
// prepared yet, is taken back when the handle writes. ErrFinished when
// prepared and writing, ErrUnfinished (EBUSY) for readers that may not.
func (in *Instance) OpenFile(ino uint64, u Use, c Caller) (Attr, error) {
	s, err := in.live(ino)
	if err != nil {
		return Attr{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := attrLocked(s.node)
	if err != nil {
		return Attr{}, err
	}
	a.Ended = s.ended
	switch {
	case s.gone:
		return Attr{}, fmt.Errorf("%q: %w", s.node.Path(), syscall.ESTALE)
	case s.ended && u.Write:
		return Attr{}, fmt.Errorf("%q: %w", s.node.Path(), ErrFinished)
	case u.Read && !s.ended && !in.mayRead(c, a.Stat.UID):
		return Attr{}, fmt.Errorf("%q: %w", s.node.Path(), ErrUnfinished)
	}
	if u.Write {
		in.withdraw(s)
	}
	in.count(s, u)
	return a, nil
}

func (in *Instance) mayRead(c Caller, owner uint32) bool {
	switch in.cfg.ReadUnfinished {
	case ReadAll:
		return true
	case ReadNone:
		return false
	case ReadOwner:
	}
	return c.UID == 0 || c.UID == owner
}

// Adopt counts a handle that an earlier worker opened on this connection.
func (in *Instance) Adopt(ino uint64, u Use) error {
	s, err := in.live(ino)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.Write {
		in.withdraw(s)
	}
	in.count(s, u)
	return nil
}

func (in *Instance) count(s *source, u Use) {
	now := in.now()
	s.handles++
	if u.Write {
		s.touched = now
		s.writers++
		in.follower.add(s, now)
	}
}

// Flushed notes that a descriptor of the file was closed: a RELEASE is likely
// to follow, and a trigger waits a moment for it.
func (in *Instance) Flushed(ino uint64) {
	if s := in.source(ino); s != nil {
		s.mu.Lock()
		s.flushed = in.now()
		s.mu.Unlock()
	}
}

// ReleaseFile ends what OpenFile or Adopt began.
func (in *Instance) ReleaseFile(ino uint64, u Use) {
	s := in.source(ino)
	if s == nil {
		return
	}
	s.mu.Lock()
	s.handles--
	if u.Write {
		s.writers--
		s.touched = in.now()
		in.follower.add(s, s.touched)
	}
	drop := s.handles == 0 && s.gone
	s.mu.Unlock()
	if drop {
		in.remove(s)
	}
	in.released.notify()
}

// Wrote says that the daemon itself appended or wrote to the file.
func (in *Instance) Wrote(ino uint64) {
	if s := in.source(ino); s != nil {
		in.follower.add(s, in.now())
	}
}

// Truncate sets the logical size. Of a stream: to 0 moves the base, to the
// current size does nothing, anything else is ErrAppendOnly (EPERM). Called
// while the kernel holds the inode's writers.
func (in *Instance) Truncate(ino uint64, size int64) (Attr, error) {
	s, err := in.live(ino)
	if err != nil {
		return Attr{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return Attr{}, fmt.Errorf("%q: %w", s.node.Path(), ErrFinished)
	}
	if s.node.Kind() == spool.Stream {
		err = in.moveBase(s, size)
	} else {
		in.withdraw(s)
		err = s.node.Truncate(size)
	}
	if err != nil {
		return Attr{}, err
	}
	s.touched = in.now()
	return attrLocked(s.node)
}

func (in *Instance) moveBase(s *source, size int64) error {
	physical, err := s.node.Size()
	if err != nil {
		return err
	}
	switch logical := physical - s.node.Base(); {
	case size == logical:
		return nil
	case size != 0:
		return fmt.Errorf("%q to %d bytes: %w", s.node.Path(), size, ErrAppendOnly)
	}
	if err := in.breakAt(s, in.now()); err != nil {
		return err
	}
	if err := fault.Hit(fault.SpoolBase); err != nil {
		return err
	}
	return s.node.SetBase(physical)
}

// live is the source of an inode number.
func (in *Instance) live(ino uint64) (*source, error) {
	if s := in.source(ino); s != nil {
		return s, nil
	}
	n, err := in.node(ino)
	if err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%q: %w", n.Path(), syscall.EISDIR)
}

func (in *Instance) source(ino uint64) *source {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.sources[ino]
}

// withdraw takes a file out of the checkpoint that has not prepared it, or
// out of quarantine. s.mu is held.
func (in *Instance) withdraw(s *source) {
	p := s.part
	if p == nil || s.ended {
		return
	}
	p.withdrawn, s.part = true, nil
	in.mu.Lock()
	defer in.mu.Unlock()
	if p.State == journal.Quarantined {
		delete(in.parts, p.ID)
		in.garbage = append(in.garbage, journal.DropPart{ID: p.ID})
	}
}

// settleKind gives scratch that was renamed to a normal name that name's
// kind. A stream's bytes never change: it is one only once no descriptor from
// before lives. s.mu is held.
func (in *Instance) settleKind(s *source) {
	k := s.sink.kindOf(s.node.Name())
	if s.node.Unlinked() || k == spool.Scratch || k == s.node.Kind() || k == spool.Stream && !in.idle(s) {
		return
	}
	if err := s.node.SetKind(k); err != nil {
		in.log.Error("renamed scratch keeps waiting", slog.String("path", s.node.Path()), slog.Any("error", err))
	}
}

// remove takes a spool file away for good, once nobody uses it: its bytes are
// finished or were discarded. A stream that the journal knows was announced
// before, or it lingers until it is.
func (in *Instance) remove(s *source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.node.Kind() == spool.Stream && !s.gone && !in.isOver(s) {
		in.mu.Lock()
		delete(in.lingering, s) // a program wrote to it again
		in.mu.Unlock()
		in.follower.add(s, in.now())
		return
	}
	s.gone = true
	if s.handles > 0 {
		return // the last RELEASE comes back here
	}
	if s.unannounced() {
		in.linger(s)
		return
	}
	if in.cfg.Observer.Removing != nil {
		in.cfg.Observer.Removing(s.id.Ino)
	}
	if err := fault.Hit(fault.UnlinkSource); err != nil {
		return
	}
	err := in.tree.Remove(s.node)
	switch {
	case errors.Is(err, spool.ErrBusy):
		in.linger(s)
		return
	case err != nil && !errors.Is(err, syscall.ENOENT):
		in.log.Error("spool file cannot be removed", slog.String("path", s.node.Path()), slog.Any("error", err))
		in.linger(s)
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.sources[s.id.Ino] == s { // the number may name a new file by now
		delete(in.sources, s.id.Ino)
	}
	delete(in.lingering, s)
	in.removals = append(in.removals, removal{s.wasIn, append(s.obituary, journal.DropSource{ID: s.id})})
}

// removal is a spool file that is gone, and what the journal may forget once
// that is durable: a file that came back after a power cut would be published
// again.
type removal struct {
	dir     *spool.Node // had its name; nil: unknown
	records []journal.Record
}

// sweep makes removals durable, so that the journal can forget them.
func (in *Instance) sweep() {
	in.mu.Lock()
	removals := in.removals
	in.removals = nil
	in.mu.Unlock()
	if len(removals) == 0 {
		return
	}
	err := in.syncRemovals(removals)
	in.mu.Lock()
	defer in.mu.Unlock()
	if err != nil {
		in.removals = append(removals, in.removals...)
		in.log.Warn("removals are not durable yet", slog.Any("error", err))
		return
	}
	for _, r := range removals {
		in.garbage = append(in.garbage, r.records...)
	}
}

func (in *Instance) syncRemovals(removals []removal) error {
	dirs := map[*spool.Node]bool{}
	for _, r := range removals {
		dirs[r.dir] = true
	}
	if dirs[nil] || len(dirs) > manySources {
		return in.tree.SyncAll()
	}
	for d := range dirs {
		if err := d.Sync(); err != nil { // removed itself, most likely
			return in.tree.SyncAll()
		}
	}
	return in.tree.SyncUnlinked()
}

// unname takes the name of a spool file away. s.mu is held.
func (in *Instance) unname(s *source) error {
	dir := s.node.Dir()
	if err := in.tree.Unlink(s.node); err != nil {
		return err
	}
	if dir != nil {
		s.wasIn = dir
	}
	return nil
}

func (in *Instance) linger(s *source) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.lingering[s] = true
}

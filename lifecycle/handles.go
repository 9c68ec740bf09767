package lifecycle

import (
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
	if err := in.keepBase(s); err != nil {
		return err
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

package lifecycle

import (
	"cmp"
	"slices"
	"time"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// breakAt ends the record at the end of what is written, whole or torn: what
// is written next never continues it. It is durable when it returns. s.mu is
// held.
func (in *Instance) breakAt(s *source, now time.Time) error {
	if _, err := s.observe(now); err != nil {
		return err
	}
	r := &reader{node: s.node}
	defer r.Close()
	if s.cut == nil {
		return nil
	}
	if err := s.cut.settle(r); err != nil || s.cut.tail() == 0 {
		return err
	}
	if err := in.mark(s, journal.Mark{Off: s.cut.seen, Dir: s.dir(), Torn: true}); err != nil {
		return err
	}
	return s.cut.end(r, s.sink.dirBelow(s.dir()), now)
}

// stay makes the whole records written so far keep their directory, durably,
// before the source gets another. s.mu is held.
func (in *Instance) stay(s *source, now time.Time) error {
	if _, err := s.observe(now); err != nil {
		return err
	}
	off := s.size()
	if s.cut != nil {
		r := &reader{node: s.node}
		defer r.Close()
		if err := s.cut.settle(r); err != nil {
			return err
		}
		off = s.cut.pos
	}
	if off <= s.finished.prefix() {
		return nil
	}
	return in.mark(s, journal.Mark{Off: off, Dir: s.dir()}) // also of what a checkpoint took, and did not journal yet
}

// keepBase has the base that a truncation set end a record, durably, before
// another one takes its place. s.mu is held.
func (in *Instance) keepBase(s *source) error {
	base, from := s.node.Base(), s.finished.prefix()
	if base <= from {
		return nil
	}
	r := &reader{node: s.node}
	defer r.Close()
	whole, err := s.sink.Format.Records.Terminated(r, from, base)
	if err != nil || whole {
		return err
	}
	return in.mark(s, journal.Mark{Off: base, Dir: s.dir(), Torn: true})
}

// withMark returns marks with another one; the bytes before keep their
// directory.
func withMark(marks []journal.Mark, m journal.Mark) []journal.Mark {
	marks = slices.Clone(marks)
	i, found := slices.BinarySearchFunc(marks, m.Off, func(m journal.Mark, off int64) int { return cmp.Compare(m.Off, off) })
	switch {
	case found:
		marks[i].Torn = marks[i].Torn || m.Torn
		return marks
	case i < len(marks):
		m.Dir = marks[i].Dir
	}
	return slices.Insert(marks, i, m)
}

func (in *Instance) mark(s *source, m journal.Mark) error {
	in.recording.Lock()
	defer in.recording.Unlock()
	before := s.told.Marks
	s.told.Marks = withMark(before, m)
	if slices.Equal(before, s.told.Marks) {
		return nil
	}
	record := s.record()
	if err := in.persist(in.journal.Write, record); err != nil {
		s.told.Marks = before
		return err
	}
	in.evidence.note(record)
	s.marks = withMark(s.marks, m)
	return nil
}

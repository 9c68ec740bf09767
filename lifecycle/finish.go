package lifecycle

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/sinkfs/sinkfs/internal/fault"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

const (
	// keptTail stays readable in the spool after it is finished, for tail -f
	// and for checks after a write, while there is space.
	keptTail = 1 << 20
	// releaseUnit is the least that is worth releasing.
	releaseUnit = 1 << 20
	// page is what a hole is made of.
	page = 4 << 10
)

// finish journals what is in the store, and how the checkpoint ended.
func (in *Instance) finish(c *checkpoint, done []*part, stuck map[*part]error) error {
	before := c.Checkpoint
	in.result(c, done, stuck)
	ended := append(in.completeLate(done, c.ID), c.Checkpoint)
	if err := in.journalFinished(done, ended); err != nil {
		in.refused(before, c.Checkpoint)
		return err
	}
	in.archive(done, ended)
	return nil
}

// refused leaves a checkpoint to finishLeft whose end the journal refused: it
// has finished nothing yet.
func (in *Instance) refused(before, end journal.Checkpoint) {
	before.Failed, before.Error = end.Failed, end.Error
	in.mu.Lock()
	defer in.mu.Unlock()
	in.partial[before.ID] = before
}

// finishLeft is finish for parts that earlier checkpoints left committing.
func (in *Instance) finishLeft(done []*part) error {
	ended := in.completeLate(done, 0)
	if err := in.journalFinished(done, ended); err != nil {
		return err
	}
	in.archive(done, ended)
	return nil
}

func (in *Instance) journalFinished(done []*part, ended []journal.Checkpoint) error {
	if err := fault.Hit(fault.FinishParts); err != nil {
		return err
	}
	sets := finishedSets(done)
	in.recording.Lock() // until they are written; no source's mu is taken meanwhile
	var records []journal.Record
	for _, p := range done {
		in.update(p, func(r *journal.Part) { r.State, r.Done, r.Error = journal.Finished, in.now().UTC(), "" })
		records = append(records, p.Part)
	}
	for s, set := range sets {
		if s.node.Kind() != spool.File { // a file goes with its part
			s.told.Finished = set // it is true, whatever becomes of the write
			records = append(records, s.record())
		}
	}
	for _, c := range ended {
		records = append(records, c)
	}
	err := fault.Hit(fault.FinishMark)
	if err == nil {
		err = in.write(in.journal.Write, records...)
	}
	in.recording.Unlock()
	if err != nil {
		for _, p := range done {
			in.update(p, func(r *journal.Part) { r.State = journal.Committing }) // in the store: the next try finds it
		}
		return err
	}
	in.mu.Lock()
	for _, c := range ended {
		if _, late := in.partial[c.ID]; late {
			in.partial[c.ID] = c
		}
	}
	in.mu.Unlock()
	for s, set := range sets {
		s.markFinished(set, in.now())
	}
	for _, p := range done {
		for _, s := range p.sources {
			s.mu.Lock()
			s.published(lastPartOf(p.Part))
			s.mu.Unlock()
		}
	}
	return nil
}

// finishedSets are what will be finished of each source.
func finishedSets(done []*part) map[*source]rangeSet {
	sets := map[*source]rangeSet{}
	for _, p := range done {
		for i, s := range p.sources {
			set, ok := sets[s]
			if !ok {
				s.mu.Lock()
				set = slices.Clone(s.finished)
				s.mu.Unlock()
			}
			sets[s] = set.with(p.Ranges[i].Range)
		}
	}
	return sets
}

func (s *source) markFinished(set rangeSet, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished, s.finishedAt = set, now
	for _, r := range set {
		s.sealed = s.sealed.without(r)
	}
	s.marks = slices.DeleteFunc(s.marks, func(m journal.Mark) bool { return m.Off <= set.prefix() })
}

// result fills in how c ended.
func (in *Instance) result(c *checkpoint, done []*part, stuck map[*part]error) {
	for _, p := range done {
		if p.Checkpoint == c.ID {
			c.Parts++
			c.Bytes += p.Bytes
			c.Records += p.Records
		}
	}
	for p, err := range stuck {
		c.Failed = append(c.Failed, failure(p, err))
	}
	c.State = journal.Complete
	if len(c.Failed) > 0 {
		c.State = journal.Partial
		c.Error = fmt.Sprintf("%d of %d parts are not published, the first: %s: %s",
			len(c.Failed), len(c.Failed)+c.Parts, c.Failed[0].Key, c.Failed[0].Error)
	}
	c.DurationMS = in.now().Sub(c.begun).Milliseconds()
}

// completeLate are checkpoints before now of which nothing is left committing.
func (in *Instance) completeLate(done []*part, now uint64) []journal.Checkpoint {
	open := map[uint64]bool{}
	finished := map[*part]bool{}
	for _, p := range done {
		finished[p] = true
	}
	for _, p := range in.selectParts(func(p *part) bool { return p.State == journal.Committing && !finished[p] }) {
		open[p.Checkpoint] = true
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	ended := map[uint64]journal.Checkpoint{}
	for _, p := range done {
		c, ok := ended[p.Checkpoint]
		if !ok {
			c, ok = in.partial[p.Checkpoint]
		}
		if !ok || c.ID == now {
			continue
		}
		c.Parts++
		c.Bytes += p.Bytes
		c.Records += p.Records
		switch {
		case !open[c.ID]:
			c.State, c.Failed, c.Error = journal.Complete, []journal.Failure{}, ""
		case c.State == journal.Prepared:
			c.State = journal.Partial // its parts are counted from here on
		}
		ended[c.ID] = c
	}
	return slices.Collect(maps.Values(ended))
}

// release tells everyone about finished parts and frees what they held.
func (in *Instance) release(done []*part) {
	short := in.shortOfSpace()
	seen := map[*source]bool{}
	for _, p := range done {
		in.mu.Lock()
		delete(in.parts, p.ID)
		in.mu.Unlock()
		if p.File {
			in.releaseFile(p)
		} else {
			in.cat.Published(p.known)
		}
		in.events.part(in.partStatus(p))
		for _, s := range p.sources {
			seen[s] = true
		}
	}
	var over []*source
	for s := range seen {
		if s.node.Kind() == spool.Stream && in.releaseStream(s, short) {
			over = append(over, s)
		}
	}
	in.removeAll(over)
	in.reserve.fill()
}

// releaseFile swaps the unfinished name for the finished one.
func (in *Instance) releaseFile(p *part) {
	s := p.sources[0]
	gone := s.node.Path()
	in.names.Lock()
	in.cat.Published(p.known)
	s.mu.Lock()
	err := in.unname(s)
	s.whenGone = append(s.whenGone, journal.DropPart{ID: p.ID})
	s.mu.Unlock()
	in.names.Unlock()
	if err != nil {
		in.log.Error("finished file keeps its spool name", slog.String("path", gone), slog.Any("error", err))
	}
	in.remove(s)
}

// releaseStream frees the bytes of a source that are finished, and says
// whether its name is gone and nothing is left.
func (in *Instance) releaseStream(s *source, short bool) (over bool) {
	s.mu.Lock()
	over = in.isOver(s)
	err := in.punch(s, short)
	s.mu.Unlock()
	if err != nil {
		in.log.Warn("spool bytes are not released", slog.String("path", s.node.Path()), slog.Any("error", err))
	}
	return over
}

// isOver says whether the name of a stream is gone and nothing is left. s.mu
// is held.
func (in *Instance) isOver(s *source) bool {
	if !s.node.Unlinked() || s.unfinished() != 0 || !in.idle(s) {
		return false
	}
	grew, err := s.observe(in.now()) // whoever wrote may have written since the last look
	return err == nil && !grew && s.unfinished() == 0
}

// punch gives finished bytes back to the file system. done is noted before
// they go, so that nobody ever reads the zeros. s.mu is held.
func (in *Instance) punch(s *source, short bool) error {
	to, unit := s.finished.prefix(), int64(releaseUnit)
	if short {
		unit = page
	} else {
		to -= keptTail
	}
	to = to / page * page
	from := s.node.Done()
	if to-from < unit {
		return nil
	}
	if err := s.node.SetDone(to); err != nil {
		return err
	}
	if err := fault.Hit(fault.ReleaseDone); err != nil {
		return err
	}
	if err := s.node.Punch(0, to); err != nil { // also what an earlier try left
		return err
	}
	return fault.Hit(fault.ReleasePunched)
}

// shortOfSpace says whether the spool's disk is nearly full.
func (in *Instance) shortOfSpace() bool {
	free, total, err := in.tree.Free()
	return err == nil && free < min(total/10, 1<<30)
}

// write journals records, and with them what is to be dropped.
func (in *Instance) write(to func(...journal.Record) error, records ...journal.Record) error {
	in.mu.Lock()
	garbage := in.garbage
	in.garbage = nil
	in.mu.Unlock()
	if len(garbage)+len(records) == 0 {
		return nil
	}
	err := in.persist(to, append(slices.Clone(garbage), records...)...)
	if err != nil {
		in.mu.Lock()
		in.garbage = append(garbage, in.garbage...)
		in.mu.Unlock()
	}
	return err
}

package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"path"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/internal/fault"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

const (
	// settled is how long a closed file rests before the timer takes it.
	settled = 10 * time.Second
	// manySources is from how many on one syncfs is cheaper than an fdatasync
	// for each.
	manySources = 16
	// streamMode is the mode of a stream's part.
	streamMode = 0o444
	// partIDs is the counter of part ids, beside those of the sinks.
	partIDs = "\x00parts"
)

// part is one finished file to be.
type part struct {
	journal.Part
	sink    *Sink
	sources []*source // of Ranges, one each
	staged  backend.Staged
	growth  *growth      // of what was sent of it already; until it is staged
	before  bool         // an earlier process sealed it, and may have begun to stage it
	kept    []byte       // the bytes of a small part, while there is room
	known   backend.Info // what the store said when it published it
	seen    []glimpse    // of Ranges, as far as known; until it is staged
	noted   bool         // the evidence has its ranges

	withdrawn bool // its file was opened again; guarded by the source's lock
}

func (in *Instance) collectSource(s *source, t Trigger, now time.Time, h *harvest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil
	}
	if s.node.Kind() == spool.Scratch {
		in.settleKind(s)
	}
	switch s.node.Kind() {
	case spool.Stream:
		return in.collectStream(s, t, now, h)
	case spool.File:
		return in.collectFile(s, t, now, h)
	case spool.Scratch:
		size, err := s.node.Size()
		if err == nil && size > 0 && t != Timer {
			h.leave(s, size, s.whyScratch())
		}
		return err
	case spool.Dir:
	}
	return nil
}

// whyScratch is why scratch is not published. s.mu is held.
func (s *source) whyScratch() string {
	if s.sink.kindOf(s.node.Name()) != spool.Scratch {
		return "a program has the file open since it had a name that is never published"
	}
	return "its name is never published"
}

func (in *Instance) collectStream(s *source, t Trigger, now time.Time, h *harvest) error {
	if s.mayHaveGrown() {
		if _, err := s.observe(now); err != nil {
			return err
		}
	}
	if s.cut == nil {
		return nil
	}
	r := &reader{node: s.node}
	defer r.Close()
	if t.takesAll() || s.sink.Rolling.OnCheckpoint || s.sink.Format.Bulk {
		if err := s.cut.sealAll(r); err != nil {
			return err
		}
		if err := in.collectTail(s, t, now, r, h); err != nil {
			return err
		}
	}
	segments := s.cut.take()
	s.inHand = s.inHand || len(segments) > 0
	for _, g := range segments {
		h.add(g, s, r.last)
		for _, x := range g.ranges {
			s.sealed = s.sealed.with(x)
		}
	}
	if len(s.cut.open) == 0 && s.cut.tail() == 0 && s.writers == 0 {
		s.cut = nil // nothing unsealed: what comes starts anew behind it
	}
	return nil
}

// collectTail takes a record without an end once nobody can end it.
func (in *Instance) collectTail(s *source, t Trigger, now time.Time, r *reader, h *harvest) error {
	tail := s.cut.tail()
	if tail == 0 {
		return nil
	}
	if t != End && !in.idle(s) {
		h.leave(s, tail, "the last record has no end yet and a program has the file open")
		return nil
	}
	return s.cut.end(r, s.sink.dirBelow(s.dirAt(s.cut.seen)), now)
}

func (in *Instance) collectFile(s *source, t Trigger, now time.Time, h *harvest) error {
	size, err := s.node.Size()
	switch {
	case err != nil:
		return err
	case s.ended, s.node.Unlinked():
		return nil
	case s.part != nil && s.part.State == journal.Quarantined:
		h.leave(s, size, "quarantined: "+s.part.Error)
		return nil
	case s.part != nil:
		return nil // declined before: it is still pending
	case s.moving:
		h.leave(s, size, "its directory is being renamed")
		return nil
	case s.writers > 0:
		h.leave(s, size, "a program has the file open")
		return nil
	case (t == Timer || t == Policy) && now.Sub(s.touched) < settled:
		h.leave(s, size, "closed less than 10 s ago")
		return nil
	case !in.idle(s):
		h.leave(s, size, "a program has the file open or mapped")
		return nil
	}
	p, err := in.filePart(s, now)
	if err == nil {
		s.part = p
		h.files = append(h.files, p)
	}
	return err
}

// filePart is the part of a whole file as it stands.
func (in *Instance) filePart(s *source, now time.Time) (*part, error) {
	st, err := s.node.Stat()
	if err != nil {
		return nil, err
	}
	p := path.Clean(s.node.Path())
	bucket := ""
	if !s.sink.Assigner.ByRecord() {
		bucket = s.sink.Assigner.Assign(nil, st.Ctime) // a program may have set the mtime
	}
	return &part{sink: s.sink, sources: []*source{s}, Part: journal.Part{
		Sink: s.sink.Path, File: true, Bucket: bucket, State: journal.Pending, Attempt: 1,
		Key:    s.sink.fileKey(s.sink.dirBelow(s.dir()), bucket, path.Base(p)),
		Ranges: []journal.PartRange{{Source: s.id, Path: p, Range: journal.Range{Len: st.Size}}},
		Bytes:  st.Size, Mode: st.Mode & 0o7777, UID: st.UID, GID: st.GID, ModTime: inCalendar(st.Mtime), Sealed: now.UTC(),
	}}, nil
}

// inCalendar is a time that JSON can tell: file systems and programs know
// others.
func inCalendar(t time.Time) time.Time {
	t = t.UTC()
	switch {
	case t.Year() < 0:
		return time.Date(0, time.January, 1, 0, 0, 0, 0, time.UTC)
	case t.Year() > 9999:
		return time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)
	}
	return t
}

// seal makes the harvest durable and journals it as pending parts.
func (in *Instance) seal(ctx context.Context, h harvest) error {
	if len(h.pieces) == 0 && len(h.files) == 0 {
		return nil
	}
	if err := in.syncSpool(ctx, h); err != nil {
		in.unseal(h)
		return err
	}
	if err := fault.Hit(fault.SealSynced); err != nil {
		in.unseal(h)
		return err
	}
	parts := append(in.pack(h.pieces, in.now()), h.files...)
	if err := in.numbered(func() []journal.Record { return in.number(parts) }); err != nil {
		in.mu.Lock()
		for _, p := range parts { // some of them may be journaled
			if p.growth == nil || p.growth.lost { // else it is sealed again under the same id
				in.garbage = append(in.garbage, journal.DropPart{ID: p.ID})
			}
		}
		in.mu.Unlock()
		in.unseal(h)
		return err
	}
	in.mu.Lock()
	for _, p := range parts {
		in.parts[p.ID] = p
	}
	in.mu.Unlock()
	for _, p := range h.pieces { // what follows them may have a number now
		p.src.mu.Lock()
		p.src.inHand = false
		p.src.mu.Unlock()
	}
	return fault.Hit(fault.SealJournaled)
}

// unseal gives a harvest back whose sealing failed.
func (in *Instance) unseal(h harvest) {
	back := map[*source][]*segment{}
	for _, p := range h.pieces {
		back[p.src] = append(back[p.src], p.segment)
	}
	for s, segments := range back {
		s.mu.Lock()
		if s.cut == nil {
			s.cut = newCutter(s.sink.Format.Records, s.sink.Assigner, s.sink.Rolling, s.taken().prefix())
		}
		for _, g := range segments {
			for _, r := range g.ranges {
				s.sealed = s.sealed.without(r)
			}
		}
		s.cut.giveBack(segments)
		s.inHand = false
		in.mu.Lock()
		for _, g := range segments {
			if g.growth != nil {
				g.growth.taken = false
			}
		}
		in.mu.Unlock()
		s.mu.Unlock()
	}
	for _, p := range h.files {
		s := p.sources[0]
		s.mu.Lock()
		if s.part == p {
			s.part = nil
		}
		s.mu.Unlock()
	}
}

// syncSpool makes the bytes of the harvest durable: the journal never records
// bytes that are not.
func (in *Instance) syncSpool(ctx context.Context, h harvest) error {
	nodes := map[*spool.Node]bool{}
	for _, p := range h.pieces {
		nodes[p.src.node] = true
	}
	for _, p := range h.files {
		nodes[p.sources[0].node] = true
	}
	if len(nodes) > manySources {
		return in.tree.SyncAll()
	}
	g, _ := errgroup.WithContext(ctx)
	for n := range nodes {
		g.Go(func() error {
			if err := n.Sync(); !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ESTALE) {
				return err
			}
			return nil // discarded meanwhile: its part is withdrawn
		})
	}
	return g.Wait()
}

// pack makes parts of segments: those of one sink, directory and bucket
// together, in order of path and offset, none split, up to max_part_size.
func (in *Instance) pack(pieces []piece, now time.Time) []*part {
	slices.SortStableFunc(pieces, func(a, b piece) int {
		return cmp.Or(
			cmp.Compare(a.src.sink.Path, b.src.sink.Path), cmp.Compare(a.dir, b.dir), cmp.Compare(a.bucket, b.bucket),
			older(a.src, b.src), cmp.Compare(a.start(), b.start()),
		)
	})
	var parts []*part
	var open *part
	var closed bool
	for i, g := range pieces {
		if g.growth != nil && !g.growth.holds(g.segment) {
			in.giveUp(g.growth)
			g.growth = nil
		}
		fits := i > 0 && !closed && g.src.sink.Coalesce && sameBucket(pieces[i-1], g) &&
			open.Bytes+g.bytes <= g.src.sink.Rolling.MaxPartSize &&
			// What was sent while it grew is one range from the part's first byte.
			g.growth == nil && (open.growth == nil || open.goesOnIn(g))
		if !fits {
			open = &part{sink: g.src.sink, Part: journal.Part{
				Sink: g.src.sink.Path, Bucket: g.bucket, Key: g.dir, State: journal.Pending, Attempt: 1,
				Mode: streamMode, UID: in.cfg.UID, GID: in.cfg.GID, Sealed: now.UTC(),
			}}
			open.growth = g.growth
			parts = append(parts, open)
		}
		open.take(g)
		closed = g.torn
	}
	return parts
}

func sameBucket(a, b piece) bool {
	return a.src.sink == b.src.sink && a.dir == b.dir && a.bucket == b.bucket
}

// goesOnIn says whether a piece begins where the last range of the part ends.
func (p *part) goesOnIn(g piece) bool {
	last := p.Ranges[len(p.Ranges)-1]
	return last.Source == g.src.id && len(g.ranges) == 1 && g.ranges[0].Off == last.Off+last.Len
}

func (p *part) take(g piece) {
	for _, r := range g.ranges {
		p.Ranges = append(p.Ranges, journal.PartRange{Source: g.src.id, Path: g.src.node.Path(), Range: r})
		p.sources = append(p.sources, g.src)
		p.seen = append(p.seen, g.seen)
	}
	p.Bytes += g.bytes
	if last := g.last.UTC(); last.After(p.ModTime) {
		p.ModTime = last
	}
}

// number gives new parts their ids, numbers and keys, and returns the records
// to journal. in.mu is held.
func (in *Instance) number(parts []*part) []journal.Record {
	var records, counters, ended []journal.Record
	touched := map[string]bool{partIDs: true}
	for _, p := range parts {
		if p.growth != nil && p.growth.lost {
			p.growth = nil
		}
		switch {
		case p.growth != nil: // it has them
			p.ID, p.N, p.Key = p.growth.ID, p.growth.N, p.growth.Key
			p.growth.taken = true
			ended = append(ended, journal.DropUpload{ID: p.ID})
		case p.File:
			p.ID = in.take(partIDs)
		default:
			dir := p.Key // pack left the directory there
			p.ID, p.N = in.take(partIDs), in.take(p.Sink)
			p.Key = p.sink.partKey(dir, p.Bucket, in.uid, p.N)
			touched[p.Sink] = true
		}
		records = append(records, p.Part)
	}
	for name := range touched {
		counters = append(counters, in.counter(name))
	}
	// The numbers first: a crash may leave any beginning of it all.
	return slices.Concat(counters, records, ended)
}

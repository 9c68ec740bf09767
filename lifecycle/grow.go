package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/format"
	"github.com/sinkfs/sinkfs/internal/fault"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

const (
	// growParallel is how many sources are sent at a time while they grow.
	growParallel = 4
	// growStep is how many units are sent in one go: a checkpoint that wants
	// the part waits for no more.
	growStep = 8
	// growSlack is what a part may have beyond its size limit: its last
	// record, of the longest that can be configured.
	growSlack = 1 << 30
	// growMost bounds what a growing part is planned for, whatever its limit.
	growMost = 5 << 40
)

// growth is a part that is sent while it grows. Its bytes are a prefix of an
// open segment that is one range: whole records behind which the segment goes
// on, so that neither the size nor a change of bucket or directory can give
// them to another part. Nothing else is packed in front of it.
type growth struct {
	journal.Upload // the id, number and key that the part will have
	src            *source
	off            int64 // where the part begins in its source

	turn    chan struct{}   // held while the store is asked; guards what follows
	to      backend.Growing // nil: not begun
	asked   bool            // the store may have begun it
	over    bool            // sealed or given up: nothing more is sent
	sent    int64
	counter format.Counter

	lost  bool // given up: no part may have its key; guarded by Instance.mu
	taken bool // a part has its key; likewise
}

// holds says whether a segment begins with the growth and has no gap.
func (g *growth) holds(s *segment) bool { return len(s.ranges) == 1 && s.ranges[0].Off == g.off }

// enter waits for the turn.
func (g *growth) enter(ctx context.Context) error {
	select {
	case g.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g *growth) leave() { <-g.turn }

// due is how much of the certain bytes can be sent.
func (g *growth) due(certain int64) int64 {
	if g.to == nil {
		return certain
	}
	unit := g.to.Unit()
	return (certain - g.sent) / unit * unit
}

// grow sends parts while they grow, until ctx ends.
func (in *Instance) grow(ctx context.Context) error {
	if in.grower == nil {
		return nil
	}
	done := make(chan struct{})
	for range growParallel {
		go func() {
			defer func() { done <- struct{}{} }()
			for s := in.growing.next(ctx); s != nil; s = in.growing.next(ctx) {
				in.growing.done(s, in.growSource(ctx, s))
			}
		}()
	}
	for range growParallel {
		<-done
	}
	return nil
}

// growSource sends what of a source can be sent. An error is worth another
// try, later.
func (in *Instance) growSource(ctx context.Context, s *source) error {
	for ctx.Err() == nil {
		g, certain, err := in.nextGrowth(s)
		if err == nil && g == nil {
			return nil
		}
		if err == nil {
			err = in.growStep(ctx, g, certain)
		}
		if err != nil {
			if ctx.Err() == nil {
				in.target.failed(err)
				in.log.Debug("a growing part is not sent now", slog.String("path", s.node.Path()), slog.Any("error", err))
			}
			return err
		}
	}
	return nil
}

// nextGrowth is what of a source is to be sent next, and how many bytes of it
// are certain; nil when there is nothing.
func (in *Instance) nextGrowth(s *source) (*growth, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mayBeSent() {
		return nil, 0, nil
	}
	s.offered = s.cut.seen
	r := &reader{node: s.node}
	defer r.Close()
	if err := s.cut.advance(r); err != nil {
		return nil, 0, err
	}
	// Of one bucket the numbers rise with the records: what follows a segment
	// without a number has none either.
	unnumbered := map[bucketKey]bool{}
	for _, seg := range s.cut.inLine() {
		k := bucketKey{seg.dir, seg.bucket}
		if g := seg.growth; g != nil && (!g.holds(seg) || seg.bytes > growLimit(s.sink) || in.isLost(g)) {
			seg.growth = nil
			in.giveUp(g)
		}
		if seg.growth == nil && !unnumbered[k] && in.mayGrow(s, seg) {
			g, err := in.claim(s, seg)
			if err != nil {
				return nil, 0, err
			}
			seg.growth = g
		}
		switch g := seg.growth; {
		case g == nil:
			unnumbered[k] = true
		case g.due(seg.bytes) > 0:
			return g, seg.bytes, nil
		}
	}
	return nil, 0, nil
}

// mayBeSent is false while a checkpoint has segments of it that have no number
// yet. s.mu is held.
func (s *source) mayBeSent() bool { return !s.gone && s.cut != nil && !s.inHand }

// worthSending says whether a look at what of the source could be sent may
// find something. s.mu is held.
func (in *Instance) worthSending(s *source) bool {
	if in.grower == nil || s.cut == nil || s.cut.seen == s.offered {
		return false
	}
	for _, seg := range s.cut.segments() {
		if seg.bytes > in.store.Properties().StageAbove {
			return true
		}
	}
	return false
}

// mayGrow says whether a segment is certain to become a part that is staged.
// s.mu is held.
func (in *Instance) mayGrow(s *source, seg *segment) bool {
	if seg.torn || len(seg.ranges) != 1 || s.sink.Format.Bulk || seg.bytes <= in.store.Properties().StageAbove || seg.bytes > growLimit(s.sink) {
		return false
	}
	for _, other := range in.allSources() {
		if other.seq < s.seq && other.sink == s.sink && other.node.Path() == s.node.Path() {
			return false // its records go out first
		}
	}
	return true
}

// claim gives a segment the number and key of its part, durably, before the
// store hears of it. s.mu is held.
func (in *Instance) claim(s *source, seg *segment) (*growth, error) {
	u := journal.Upload{Sink: s.sink.Path, Begun: in.now().UTC()}
	err := in.numbered(func() []journal.Record {
		u.ID, u.N = in.take(partIDs), in.take(u.Sink)
		u.Key = s.sink.partKey(seg.dir, seg.bucket, in.uid, u.N)
		return []journal.Record{in.counter(partIDs), in.counter(u.Sink), u}
	})
	if err != nil {
		return nil, err
	}
	in.evidence.note(u)
	return &growth{
		Upload: u, src: s, off: seg.ranges[0].Off, turn: make(chan struct{}, 1), counter: s.sink.Format.Records.Counter(),
	}, nil
}

// growStep sends the next units of a growth.
func (in *Instance) growStep(ctx context.Context, g *growth, certain int64) (err error) {
	if err := g.enter(ctx); err != nil {
		return err
	}
	defer g.leave()
	if g.over {
		return nil
	}
	ctx, alive, cancel := withProgress(ctx, in.cfg.CommitTimeout)
	defer cancel()
	if g.to == nil {
		err = in.beginGrowth(ctx, g)
	}
	if err == nil {
		if n := min(g.due(certain), growStep*g.to.Unit()); n > 0 {
			err = g.send(ctx, n, alive)
		}
	}
	if err == nil {
		in.target.ok()
		err = fault.Hit(fault.GrowSent)
	}
	if err != nil {
		g.over = true
		in.giveUp(g)
	}
	return err
}

func (in *Instance) beginGrowth(ctx context.Context, g *growth) error {
	if err := fault.Hit(fault.GrowClaimed); err != nil {
		return err
	}
	g.asked = true
	to, err := in.grower.Grow(ctx, in.growObject(g))
	if err != nil {
		return err
	}
	g.to = to
	return fault.Hit(fault.GrowBegun)
}

// growObject is the part as the store gets it before its end is known: how
// many records it has, of which ranges, and when the last was written, is in
// the manifest only.
func (in *Instance) growObject(g *growth) backend.Object {
	sink := g.src.sink
	m := in.meta(&part{sink: sink, Part: journal.Part{ID: g.ID, Sink: g.Sink, N: g.N, Attempt: 1}})
	delete(m, MetaRecords)
	delete(m, MetaRanges)
	return backend.Object{Key: backend.Key(g.Key), Size: growLimit(sink), Meta: m, Mode: streamMode, UID: in.cfg.UID, GID: in.cfg.GID}
}

// growLimit is what a part of the sink may come to have.
func growLimit(s *Sink) int64 { return min(s.Rolling.MaxPartSize, growMost-growSlack) + growSlack }

// send appends the next n bytes. The turn is held.
func (g *growth) send(ctx context.Context, n int64, alive func()) error {
	first := true
	from := g.off + g.sent
	err := g.to.Append(ctx, backend.Piece{Size: n, Alive: alive, Open: func() (io.ReadCloser, error) {
		f, err := g.src.node.Open(os.O_RDONLY)
		if err != nil {
			return nil, err
		}
		r := &growthBody{f: f, in: io.NewSectionReader(f, from, n), alive: alive}
		if first { // who reads it again reads the same
			r.of, first = g, false
		}
		return r, nil
	}})
	if err == nil {
		g.sent += n
	}
	return err
}

// growthBody reads a piece of a growth and counts its records on the way.
type growthBody struct {
	f     *os.File
	in    io.Reader
	of    *growth // nil: only read
	alive func()
}

// Read implements io.Reader.
func (b *growthBody) Read(buf []byte) (int, error) {
	n, err := b.in.Read(buf)
	if b.of != nil {
		_, _ = b.of.counter.Write(buf[:n]) // never fails
	}
	b.alive()
	return n, err
}

// Close implements io.Closer.
func (b *growthBody) Close() error { return b.f.Close() }

// stageGrown sends the rest of a part that was sent while it grew. It is false
// when the part has to be staged as a whole.
func (in *Instance) stageGrown(ctx context.Context, p *part, g *growth) (done bool, err error) {
	if err := g.enter(ctx); err != nil {
		in.giveUp(g)
		return false, err
	}
	defer g.leave()
	over := g.over
	g.over = true
	if over || g.to == nil {
		in.giveUp(g)
		return false, nil
	}
	ctx, alive, cancel := withProgress(ctx, in.cfg.CommitTimeout)
	defer cancel()
	if n := p.Bytes - g.sent; n > 0 {
		err = g.send(ctx, n, alive)
	}
	if err == nil {
		err = fault.Hit(fault.GrowEnded)
	}
	if err == nil {
		g.counter.Close()
		p.staged, err = g.to.Seal(ctx)
	}
	if err != nil {
		in.giveUp(g)
		if errors.Is(err, backend.ErrGone) {
			in.log.Warn("what was sent early is gone, the part is sent again", slog.String("key", p.Key), slog.Any("error", err))
			return false, nil
		}
		in.target.failed(err)
		return false, fmt.Errorf("part %d: %w", p.ID, err)
	}
	in.target.ok()
	return true, in.check(p, p.staged.Checksum(), g.counter.Count())
}

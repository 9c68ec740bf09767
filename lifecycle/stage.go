package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/internal/fault"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// errChanged: bytes that were checked once read differently now.
var errChanged = errors.New("the bytes in the spool changed after they were first read: a program wrote through a mapping or with AIO")

// stage brings every pending part as near to the store as is possible without
// being seen, in parallel: a large one is uploaded, of a small one the
// checksum is taken. Those that fail are declined: they are returned with
// why, and go to the next checkpoint.
func (in *Instance) stage(ctx context.Context, parts []*part) (ready []*part, failed map[*part]error) {
	errs := make([]error, len(parts))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, in.store.Properties().Parallel))
	for i, p := range parts {
		g.Go(func() error {
			errs[i] = in.stagePart(ctx, p)
			return nil
		})
	}
	_ = g.Wait() // no func fails
	failed = map[*part]error{}
	for i, p := range parts {
		p.seen = nil
		if errs[i] == nil {
			ready = append(ready, p)
		} else {
			failed[p] = errs[i]
		}
	}
	return ready, failed
}

func (in *Instance) stagePart(ctx context.Context, p *part) error {
	if p.staged != nil || p.Checksum != "" && p.Bytes <= in.store.Properties().StageAbove {
		return fault.Hit(fault.StageDone)
	}
	if p.Bytes > in.store.Properties().StageAbove {
		in.noteUpload(p)
	}
	if g := p.growth; g != nil {
		p.growth = nil
		if done, err := in.stageGrown(ctx, p, g); err != nil {
			return err
		} else if done {
			return fault.Hit(fault.StageDone)
		}
	}
	ctx, alive, cancel := withProgress(ctx, in.cfg.CommitTimeout)
	defer cancel()
	if p.Bytes <= in.store.Properties().StageAbove {
		if err := in.readSmall(ctx, p, alive); err != nil {
			return err
		}
		return fault.Hit(fault.StageDone)
	}
	in.abortBefore(ctx, p)
	var last *body
	staged, err := in.store.Stage(ctx, in.object(p, alive, func() (io.ReadCloser, error) {
		last = newBody(p, alive)
		last.staged = true
		return last, nil
	}))
	if err != nil {
		in.target.failed(err)
		return err
	}
	in.target.ok()
	if err := in.check(p, staged.Checksum(), last.counter.Count()); err != nil {
		return errors.Join(err, staged.Abort(ctx))
	}
	p.staged = staged
	return fault.Hit(fault.StageDone)
}

// readSmall takes the checksum of a part that is sent at its commit, and keeps
// the bytes until then while there is room for them.
func (in *Instance) readSmall(ctx context.Context, p *part, alive func()) error {
	b := newBody(p, alive)
	var to io.Writer = io.Discard
	var kept *bytes.Buffer
	if in.kept.take(p.Bytes) {
		kept = bytes.NewBuffer(make([]byte, 0, p.Bytes))
		to = kept
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{to}, readerWithContext{ctx, b}, make([]byte, min(copyBuffer, p.Bytes+1)))
	err = errors.Join(err, b.Close())
	if err == nil && n != p.Bytes {
		err = fmt.Errorf("part %d: %d of %d bytes are in the spool: %w", p.ID, n, p.Bytes, errChanged)
	}
	if err == nil {
		err = in.check(p, b.checksum(), b.counter.Count())
	}
	switch {
	case kept == nil:
	case err != nil:
		in.kept.give(p.Bytes)
	default:
		p.kept = kept.Bytes()
	}
	return err
}

const (
	// copyBuffer is how much of a part is read at a time.
	copyBuffer = 256 << 10
	// keepBudget bounds the bytes of small parts kept between reading and
	// sending them.
	keepBudget = 32 << 20
)

// budget is a number of bytes that may be taken.
type budget struct{ left atomic.Int64 }

func (b *budget) take(n int64) bool {
	if b.left.Add(-n) >= 0 {
		return true
	}
	b.left.Add(n)
	return false
}

func (b *budget) give(n int64) { b.left.Add(n) }

// forget gives back what was kept of a part.
func (in *Instance) forget(p *part) {
	if p.kept != nil {
		in.kept.give(int64(len(p.kept)))
		p.kept = nil
	}
}

// check compares what was read with what was read before, and notes it the
// first time.
func (in *Instance) check(p *part, sum string, records int64) error {
	if p.Checksum != "" && backend.ChecksumsDiffer(p.Checksum, sum) {
		return fmt.Errorf("part %d: %w", p.ID, errChanged)
	}
	in.update(p, func(r *journal.Part) {
		r.Checksum = sum
		if !r.File || p.sink.File { // what a whole glob names has no records that we know
			r.Records = records
		}
	})
	return nil
}

// update changes the record of a part, which the status reads meanwhile.
func (in *Instance) update(p *part, change func(*journal.Part)) {
	in.mu.Lock()
	defer in.mu.Unlock()
	change(&p.Part)
}

package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// round is one checkpoint to come and all who wait for it. Whoever asks after
// its barrier began waits for the next.
type round struct {
	trigger Trigger
	done    chan struct{}
	result  journal.Checkpoint
	err     error
}

// rounds is the queue of at most one round that has not begun.
type rounds struct {
	mu      sync.Mutex
	waiting *round
	last    *round // the unmount's, once it began: nothing comes after it
	wake    chan struct{}
	stopped bool
	// interrupt ends what is done between rounds when one is asked for.
	interrupt func()
}

// strength orders triggers: a round takes the strongest that was asked for.
func (t Trigger) strength() int {
	switch t {
	case Timer:
		return 0
	case Policy:
		return 1
	case Now:
		return 2
	case Unmount:
		return 3
	case End:
		return 4
	}
	return 2
}

func (r *rounds) join(t Trigger) (*round, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return nil, ErrStopped
	}
	if r.last != nil {
		return r.last, nil
	}
	if r.waiting == nil {
		r.waiting = &round{trigger: t, done: make(chan struct{})}
	} else if t.strength() > r.waiting.trigger.strength() {
		r.waiting.trigger = t
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
	if r.interrupt != nil {
		r.interrupt()
	}
	return r.waiting, nil
}

// interruptBy has f called when a round is asked for, until the returned func
// is.
func (r *rounds) interruptBy(f func()) (clear func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.interrupt = f
	if r.waiting != nil {
		f()
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.interrupt = nil
	}
}

func (r *rounds) take() *round {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.waiting
	r.waiting = nil
	if w != nil && w.trigger == Unmount {
		r.last = w
	}
	return w
}

func (r *rounds) stop() *round {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	w := r.waiting
	r.waiting = nil
	return w
}

// Checkpoint publishes and waits. It covers every record whose write returned
// before the call. Where a checkpoint was made the result is valid (ID > 0),
// with an error too: nil means that all of it is finished; ErrIncomplete that
// something failed or is still committing, which goes on; the context's error
// that the caller stopped waiting, the checkpoint goes on; ErrBatch,
// ErrStopped; ENOSPC.
func (in *Instance) Checkpoint(ctx context.Context, t Trigger) (journal.Checkpoint, error) {
	if in.cfg.Batch && (t == Now || t == Policy) {
		return journal.Checkpoint{}, ErrBatch
	}
	if t == Unmount {
		in.setState(Draining)
	}
	r, err := in.rounds.join(t)
	if err != nil {
		return journal.Checkpoint{}, err
	}
	select {
	case <-ctx.Done():
		return journal.Checkpoint{}, context.Cause(ctx)
	case <-r.done:
		return r.result, r.err
	}
}

// serve makes checkpoints, one at a time, whoever asks.
func (in *Instance) serve(ctx context.Context) error {
	defer func() {
		if r := in.rounds.stop(); r != nil {
			r.err = ErrStopped
			close(r.done)
		}
	}()
	timer := newTicker(in.cfg.Interval)
	if in.cfg.Batch {
		timer = newTicker(0)
	}
	defer timer.Stop()
	retry := time.NewTimer(0) // what an earlier process left prepared
	defer retry.Stop()
	pace := in.pace()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-in.rounds.wake:
			in.serveRound(ctx)
		case <-timer.C:
			if _, err := in.checkpoint(ctx, Timer); err != nil && !errors.Is(err, context.Canceled) {
				in.log.Warn("timer checkpoint", slog.Any("error", err))
			}
		case <-retry.C:
		}
		if in.commitLeft(ctx) && in.contact(ctx) {
			in.recovered()
			if in.sendOwed(ctx) {
				pace.Reset()
				retry.Stop()
				continue
			}
		}
		retry.Reset(pace.NextBackOff())
	}
}

func (in *Instance) serveRound(ctx context.Context) {
	if r := in.rounds.take(); r != nil {
		r.result, r.err = in.checkpoint(ctx, r.trigger)
		if r.err != nil && ctx.Err() != nil {
			r.err = fmt.Errorf("%w: %w", ErrStopped, r.err) // it says nothing about the checkpoint
		}
		close(r.done)
	}
}

// commitLeft goes on with what earlier checkpoints left committing. It
// reports whether nothing is left.
func (in *Instance) commitLeft(ctx context.Context) bool {
	left := in.committing(in.newest())
	if len(left) == 0 {
		return true
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer in.rounds.interruptBy(cancel)()
	done, stuck := in.commitAll(ctx, left, 1)
	if len(done) == 0 {
		return false
	}
	if err := in.finishLeft(done); err != nil {
		in.fail(err)
		return false
	}
	in.release(done)
	return len(stuck) == 0
}

// sendOwed sends manifests that a checkpoint could not. It reports whether the
// target has all.
func (in *Instance) sendOwed(ctx context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer in.rounds.interruptBy(cancel)()
	return in.sendManifests(ctx)
}

// contact asks a target that this process has not heard of yet how it is, so
// that the status knows before there is something to publish. It reports
// whether the target ever answered.
func (in *Instance) contact(ctx context.Context) bool {
	if in.target.known() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, firstContact)
	defer cancel()
	defer in.rounds.interruptBy(cancel)()
	err := in.store.Check(ctx)
	switch {
	case err == nil:
		in.target.ok()
	case !errors.Is(err, context.Canceled):
		in.target.failed(err)
		in.fail(err)
	}
	return err == nil
}

func (in *Instance) newest() uint64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.lastID
}

func (in *Instance) setState(s State) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.state = s
}

func (in *Instance) recovered() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.state == Recovering {
		in.state = Running
	}
}

// newTicker is a ticker that never ticks for d = 0.
func newTicker(d time.Duration) *time.Ticker {
	if d > 0 {
		return time.NewTicker(d)
	}
	t := time.NewTicker(time.Hour)
	t.Stop()
	return t
}

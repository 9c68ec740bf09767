package fusefs

import (
	"context"
	"errors"
	"time"

	"github.com/sinkfs/sinkfs/lifecycle"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// joinWithin is how long after EINTR a repeated write may take the answer of
// a checkpoint that has ended meanwhile. Later it would be an answer to
// another question.
const joinWithin = 2 * time.Second

// awaited is a checkpoint that a write waits for. It outlives the write.
type awaited struct {
	trigger     trigger
	done        chan struct{}
	got         journal.Checkpoint
	err         error
	interrupted time.Time
}

// write triggers a checkpoint and waits for it. After EINTR the checkpoint
// goes on, and a repeated write on the same handle waits for that one.
func (c *controlFile) write(ctx context.Context, data []byte) (int, error) {
	t, err := parseTrigger(data)
	if err != nil {
		return 0, err
	}
	a := c.begin(t)
	patience, cancel := context.WithTimeout(ctx, t.wait)
	defer cancel()
	select {
	case <-a.done:
	case <-patience.Done():
		return 0, c.leave(a, patience.Err())
	}
	if errors.Is(a.err, lifecycle.ErrStopped) {
		// This process ends. When another takes the connection over it gets
		// the call again, and knows the answer.
		<-patience.Done()
		return 0, a.err
	}
	c.take(a)
	if a.err != nil {
		return 0, a.err
	}
	return len(data), nil
}

// begin starts the checkpoint, or finds the interrupted one.
func (c *controlFile) begin(t trigger) *awaited {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending.joins(t) {
		return c.pending
	}
	a := &awaited{trigger: t, done: make(chan struct{})}
	c.pending = a
	f := c.fs
	f.waiting.Go(func() {
		defer close(a.done)
		a.got, a.err = f.in.Checkpoint(f.lasting, t.what)
		f.noteTrigger(a.got.ID, a.err)
	})
	return a
}

// joins says that a write of t repeats the one that was interrupted.
func (a *awaited) joins(t trigger) bool {
	if a == nil || a.trigger.what != t.what || a.interrupted.IsZero() {
		return false
	}
	select {
	case <-a.done:
		return time.Since(a.interrupted) < joinWithin
	default:
		return true
	}
}

// leave stops waiting; the checkpoint goes on.
func (c *controlFile) leave(a *awaited, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(err, context.DeadlineExceeded) {
		if c.pending == a {
			c.pending = nil
		}
		return err
	}
	a.interrupted = time.Now()
	return context.Canceled
}

// take ends the wait. A handle that reads too finds its own checkpoint.
func (c *controlFile) take(a *awaited) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending == a {
		c.pending = nil
	}
	if a.got.ID != 0 {
		c.content, c.loaded = page(complete(a.got)), true
	}
}

package lifecycle

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// nurseryPause is how long nothing is sent early after a failure, at
	// first, and nurseryMost how long at most.
	nurseryPause = time.Second
	nurseryMost  = time.Minute
)

// nursery is the queue of sources of which something may be sent before it is
// sealed. Each is with one goroutine at a time. After a failure all wait.
type nursery struct {
	wake chan struct{}

	mu      sync.Mutex
	waiting []*source
	queued  map[*source]bool // in waiting
	busy    map[*source]bool // with somebody
	again   map[*source]bool // busy, and offered since
	until   time.Time        // nobody is handed out before
	pace    backoff.BackOff
}

func newNursery() *nursery {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = nurseryPause, nurseryMost
	return &nursery{
		wake: make(chan struct{}, 1), queued: map[*source]bool{}, busy: map[*source]bool{}, again: map[*source]bool{}, pace: b,
	}
}

// offer has the source looked at soon.
func (n *nursery) offer(s *source) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.add(s)
}

func (n *nursery) add(s *source) {
	switch {
	case n.busy[s]:
		n.again[s] = true
	case !n.queued[s]:
		n.queued[s] = true
		n.waiting = append(n.waiting, s)
		n.call()
	}
}

func (n *nursery) call() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// next waits for a source; nil when ctx has ended.
func (n *nursery) next(ctx context.Context) *source {
	t := time.NewTimer(0)
	defer t.Stop()
	for ctx.Err() == nil {
		s, wait := n.take()
		if s != nil {
			return s
		}
		t.Reset(wait)
		select {
		case <-ctx.Done():
		case <-n.wake:
		case <-t.C:
		}
	}
	return nil
}

// take is the first in the queue, or how long until there may be one.
func (n *nursery) take() (*source, time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if d := time.Until(n.until); d > 0 {
		return nil, d
	}
	if len(n.waiting) == 0 {
		return nil, time.Hour
	}
	s := n.waiting[0]
	n.waiting = n.waiting[1:]
	delete(n.queued, s)
	n.busy[s] = true
	if len(n.waiting) > 0 {
		n.call() // the next who waits
	}
	return s, 0
}

// done gives a source back, which failed for err.
func (n *nursery) done(s *source, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	again := n.again[s] || err != nil
	delete(n.busy, s)
	delete(n.again, s)
	if err == nil {
		n.pace.Reset()
	} else {
		n.until = time.Now().Add(n.pace.NextBackOff())
	}
	if again {
		n.add(s)
	}
}

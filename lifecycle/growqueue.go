package lifecycle

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// growPause is how long nothing is sent early after a failure, at first,
	// and growPauseMost how long at most.
	growPause     = time.Second
	growPauseMost = time.Minute
)

// growQueue is the queue of sources of which something may be sent before it
// is sealed. Each is with one goroutine at a time. After a failure all wait.
type growQueue struct {
	wake chan struct{}

	mu      sync.Mutex
	waiting []*source
	queued  map[*source]bool // in waiting
	busy    map[*source]bool // with somebody
	again   map[*source]bool // busy, and offered since
	until   time.Time        // nobody is handed out before
	pace    backoff.BackOff
}

func newGrowQueue() *growQueue {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = growPause, growPauseMost
	return &growQueue{
		wake: make(chan struct{}, 1), queued: map[*source]bool{}, busy: map[*source]bool{}, again: map[*source]bool{}, pace: b,
	}
}

// offer has the source looked at soon.
func (q *growQueue) offer(s *source) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(s)
}

func (q *growQueue) add(s *source) {
	switch {
	case q.busy[s]:
		q.again[s] = true
	case !q.queued[s]:
		q.queued[s] = true
		q.waiting = append(q.waiting, s)
		q.call()
	}
}

func (q *growQueue) call() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next waits for a source; nil when ctx has ended.
func (q *growQueue) next(ctx context.Context) *source {
	t := time.NewTimer(0)
	defer t.Stop()
	for ctx.Err() == nil {
		s, wait := q.take()
		if s != nil {
			return s
		}
		t.Reset(wait)
		select {
		case <-ctx.Done():
		case <-q.wake:
		case <-t.C:
		}
	}
	return nil
}

// take is the first in the queue, or how long until there may be one.
func (q *growQueue) take() (*source, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d := time.Until(q.until); d > 0 {
		return nil, d
	}
	if len(q.waiting) == 0 {
		return nil, time.Hour
	}
	s := q.waiting[0]
	q.waiting = q.waiting[1:]
	delete(q.queued, s)
	q.busy[s] = true
	if len(q.waiting) > 0 {
		q.call() // the next who waits
	}
	return s, 0
}

// done gives a source back, which failed for err.
func (q *growQueue) done(s *source, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	again := q.again[s] || err != nil
	delete(q.busy, s)
	delete(q.again, s)
	if err == nil {
		q.pace.Reset()
	} else {
		q.until = time.Now().Add(q.pace.NextBackOff())
	}
	if again {
		q.add(s)
	}
}

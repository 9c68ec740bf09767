package lifecycle

import (
	"container/heap"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// The pace at which an open source is looked at: faster while it grows. It
// only dates records and feeds the status; a checkpoint looks at every source
// itself, and the size of a part never depends on it.
const (
	fastest = 100 * time.Millisecond
	slowest = 5 * time.Second
)

// follower knows which sources may grow without the daemon being told, and
// when to look at each next.
type follower struct {
	mu   sync.Mutex
	due  dueHeap
	wake chan struct{}
}

func newFollower() *follower { return &follower{wake: make(chan struct{}, 1)} }

// add has s looked at soon. A file is not followed: what is in it matters when
// it is closed, and a checkpoint looks then.
func (f *follower) add(s *source, now time.Time) {
	if s.node.Kind() == spool.File {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.schedule(s, now, fastest)
}

// again has s looked at once more, sooner while it grows.
func (f *follower) again(s *source, now time.Time, grew bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if grew {
		f.schedule(s, now, max(s.pace/2, fastest))
	} else {
		f.schedule(s, now, min(s.pace*3/2, slowest))
	}
}

func (f *follower) schedule(s *source, now time.Time, d time.Duration) {
	s.pace = min(max(d, fastest), slowest)
	at := now.Add(d)
	switch {
	case s.slot < 0:
		s.next = at
		heap.Push(&f.due, s)
	case at.Before(s.next):
		s.next = at
		heap.Fix(&f.due, s.slot)
	default:
		return
	}
	if f.due[0] == s {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// pop returns the next source that is due, or how long until one is.
func (f *follower) pop(now time.Time) (*source, time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.due) == 0 {
		return nil, time.Hour
	}
	if d := f.due[0].next.Sub(now); d > 0 {
		return nil, d
	}
	s, _ := heap.Pop(&f.due).(*source)
	return s, 0
}

// follow looks at sources as they are due, until ctx ends.
func (in *Instance) follow(ctx context.Context) error {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		s, wait := in.follower.pop(in.now())
		if s != nil {
			in.look(s)
			continue
		}
		t.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-in.follower.wake:
		case <-t.C:
		}
	}
}

// look observes one source and decides when to look again: while it has
// writers, or may have some from before this process.
func (in *Instance) look(s *source) {
	s.mu.Lock()
	over := in.observeDue(s)
	growing := in.worthSending(s)
	s.mu.Unlock()
	if growing {
		in.growing.offer(s)
	}
	if over {
		in.linger(s) // with others that end meanwhile
	}
}

// observeDue says whether nothing is left of the source. s.mu is held.
func (in *Instance) observeDue(s *source) (over bool) {
	if s.gone {
		return false
	}
	now := in.now()
	grew := false
	switch s.node.Kind() {
	case spool.Stream:
		var err error
		if grew, err = s.observe(now); err != nil {
			in.log.Error("source cannot be read", slog.String("path", s.node.Path()), slog.Any("error", err))
		}
	case spool.Scratch:
		in.settleKind(s)
	case spool.File, spool.Dir:
		return false
	}
	seen := s.node.Kind() == spool.Scratch || s.observed.After(s.touched)
	if in.idle(s) && seen {
		return s.node.Unlinked() && s.unfinished() == 0
	}
	in.follower.again(s, now, grew)
	return false
}

// dueHeap is a heap of sources by next.
type dueHeap []*source

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].next.Before(h[j].next) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = i, j
}

func (h *dueHeap) Push(x any) {
	s, _ := x.(*source)
	s.slot = len(*h)
	*h = append(*h, s)
}

func (h *dueHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	s.slot = -1
	return s
}

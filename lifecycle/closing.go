package lifecycle

import (
	"context"
	"time"

	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// releaseWait is how long a trigger waits for the RELEASE that follows a
// close.
const releaseWait = time.Second

// awaitReleases waits a moment for the RELEASE of descriptors that were just
// closed, where it decides what is published.
func (in *Instance) awaitReleases(ctx context.Context) {
	deadline := time.NewTimer(releaseWait)
	defer deadline.Stop()
	for {
		changed := in.released.wait()
		if !in.someClosing() {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-deadline.C:
			return
		case <-changed:
		}
	}
}

// someClosing says whether a RELEASE is likely to come that lets more be
// published. Scratch stays scratch, unless its new name makes it something
// else: a lock that is held for long must not delay anybody.
func (in *Instance) someClosing() bool {
	now := in.now()
	for _, s := range in.allSources() {
		s.mu.Lock()
		closing := s.writers > 0 && !s.flushed.IsZero() && now.Sub(s.flushed) < releaseWait && !s.gone
		switch {
		case !closing:
		case s.node.Kind() == spool.Stream:
			closing = s.tornNow(now)
		case s.node.Kind() == spool.Scratch:
			closing = s.sink.kindOf(s.node.Name()) != spool.Scratch
		}
		s.mu.Unlock()
		if closing {
			return true
		}
	}
	return false
}

// tornNow says whether the last record has no end. s.mu is held.
func (s *source) tornNow(now time.Time) bool {
	if _, err := s.observe(now); err != nil || s.cut == nil {
		return false
	}
	r := &reader{node: s.node}
	defer r.Close()
	whole, err := s.cut.records.Terminated(r, s.cut.pos, s.cut.seen)
	return err == nil && !whole
}

package lifecycle

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/internal/fault"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

const (
	// strayInterval is how often uploads that were given up are looked for.
	strayInterval = 5 * time.Second
	// straySettled is how long one may still appear that was asked for and
	// not answered, by this process or the one before.
	straySettled = 10 * time.Second
)

// stray is a growth that was given up, and is to go from the store.
type stray struct {
	*growth
	until time.Time // the store may still be at it before
}

// giveUp has nothing more sent of a growth, and what is at the store aborted.
func (in *Instance) giveUp(g *growth) {
	in.mu.Lock()
	known := g.lost
	g.lost = true
	if !known {
		in.strays = append(in.strays, stray{g, in.now().Add(straySettled)})
		if g.src != nil && !g.taken { // a seal that failed may have journaled its part
			in.garbage = append(in.garbage, journal.DropPart{ID: g.ID})
		}
	}
	in.mu.Unlock()
	in.strayed.notify()
}

func (in *Instance) isLost(g *growth) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return g.lost
}

// recoverUploads gives up what the process before sent of parts that it did
// not seal: cut anew, their bytes may go elsewhere.
func (in *Instance) recoverUploads(uploads []journal.Upload) {
	for _, u := range uploads {
		if _, sealed := in.parts[u.ID]; sealed {
			in.garbage = append(in.garbage, journal.DropUpload{ID: u.ID})
			continue
		}
		in.giveUp(&growth{Upload: u, turn: make(chan struct{}, 1), asked: true, over: true})
	}
}

// sweepStrays aborts what was given up, until ctx ends.
func (in *Instance) sweepStrays(ctx context.Context) error {
	if in.grower == nil {
		return nil
	}
	t := newTicker(strayInterval)
	defer t.Stop()
	for {
		more := in.strayed.wait()
		in.abortStrays(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-more:
		case <-t.C:
		}
	}
}

func (in *Instance) abortStrays(ctx context.Context) {
	in.mu.Lock()
	strays := slices.Clone(in.strays)
	in.mu.Unlock()
	for _, s := range strays {
		over, err := in.abortStray(ctx, s)
		if err != nil {
			in.log.Debug("what was sent early of a part is not given up yet", slog.String("key", s.Key), slog.Any("error", err))
			return // the store is away: the others would fare no better
		}
		if !over {
			continue
		}
		in.mu.Lock()
		in.strays = slices.DeleteFunc(in.strays, func(x stray) bool { return x.growth == s.growth })
		if !s.taken {
			in.garbage = append(in.garbage, journal.DropUpload{ID: s.ID})
		}
		in.mu.Unlock()
	}
}

// abortStray says whether nothing is left to do.
func (in *Instance) abortStray(ctx context.Context, s stray) (over bool, err error) {
	if err := s.enter(ctx); err != nil {
		return false, err
	}
	defer s.leave()
	ctx, _, cancel := withProgress(ctx, in.cfg.CommitTimeout)
	defer cancel()
	if err := fault.Hit(fault.GrowAbort); err != nil {
		return false, err
	}
	s.over = true
	switch {
	case s.to != nil:
		return true, s.to.Abort(ctx)
	case !s.asked:
		return true, nil
	}
	in.mu.Lock()
	taken := s.taken
	in.mu.Unlock()
	if taken {
		return true, nil // what has the key now is its part's; gc tells them apart
	}
	return !in.now().Before(s.until), in.abortAt(ctx, backend.Key(s.Key))
}

// abortBefore aborts what an earlier process began to stage of a part. The key
// of a whole file may be that of another host's too: those are left to gc.
func (in *Instance) abortBefore(ctx context.Context, p *part) {
	if !p.before || p.File {
		return
	}
	p.before = false
	if err := in.abortAt(ctx, backend.Key(p.Key)); err != nil {
		in.log.Info("uploads of an earlier process stay, gc finds them", slog.String("key", p.Key), slog.Any("error", err))
	}
}

// abortAt aborts all uploads at a key that nobody else has.
func (in *Instance) abortAt(ctx context.Context, k backend.Key) error {
	lister, ok := in.store.(backend.UploadLister)
	if !ok {
		return nil
	}
	var found []backend.Upload
	if err := lister.Uploads(ctx, k, func(u backend.Upload) error {
		if u.Key == k {
			found = append(found, u)
		}
		return nil
	}); err != nil {
		return err
	}
	for _, u := range found {
		if err := lister.AbortUpload(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

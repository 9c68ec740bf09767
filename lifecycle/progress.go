package lifecycle

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// withProgress ends the context when alive was not called for d: a timeout
// without progress, not of the whole.
func withProgress(ctx context.Context, d time.Duration) (_ context.Context, alive, cancel func()) {
	ctx, stop := context.WithCancelCause(ctx)
	var last atomic.Int64
	last.Store(time.Now().UnixNano())
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		idle := time.Duration(time.Now().UnixNano() - last.Load())
		if idle >= d {
			stop(fmt.Errorf("no progress for %v: %w", d, context.DeadlineExceeded))
			return
		}
		t.Reset(d - idle)
	})
	return ctx, func() { last.Store(time.Now().UnixNano()) }, func() { t.Stop(); stop(nil) }
}

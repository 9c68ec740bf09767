package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sinkfs/sinkfs/backend"
)

// pause is how long nobody asks a store that did not answer.
const pause = time.Second

// errSilent is the cause when a store made no progress for too long.
var errSilent = fmt.Errorf("the target does not answer: %w", backend.ErrTransient)

// health remembers for a moment that the store is down, so that a thousand
// lookups do not each wait for it.
type health struct {
	patience time.Duration
	log      *slog.Logger

	mu    sync.Mutex
	cause error // nil while the store is well
	until time.Time
}

// allow returns an error while the store is taken to be down. When the pause
// is over, one caller is let through to see, and the others still are not.
func (h *health) allow(now time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cause == nil {
		return nil
	}
	if now.Before(h.until) {
		return fmt.Errorf("the target did not answer just now: %w: %w", backend.ErrTransient, h.cause)
	}
	h.until = now.Add(h.patience)
	return nil
}

// note hears how a call ended.
func (h *health) note(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.cause
	if !failed(err) {
		h.cause = nil
		if was != nil {
			h.log.Info("target answers readers again")
		}
		return
	}
	h.cause, h.until = err, time.Now().Add(pause)
	if was == nil {
		h.log.Warn("target does not answer readers", slog.Any("error", err))
	}
}

// failed tells an outage from an answer.
func failed(err error) bool {
	for _, answer := range []error{
		backend.ErrNotExist, backend.ErrExist, backend.ErrPermission, backend.ErrKey, backend.ErrUnsupported, context.Canceled,
	} {
		if errors.Is(err, answer) {
			return false
		}
	}
	return err != nil
}

// because puts the cause in the place of a bare context error.
func because(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && errors.Is(context.Cause(ctx), errSilent) {
		return errSilent
	}
	return err
}

// watch ends the context when touch was not called for d.
func watch(ctx context.Context, d time.Duration) (_ context.Context, touch, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(d, func() { cancel(errSilent) })
	return ctx, func() { timer.Reset(d) }, func() {
		timer.Stop()
		cancel(nil)
	}
}

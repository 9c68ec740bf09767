package objects

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// maxHold bounds what a store may ask for.
const maxHold = 30 * time.Second

// Gate keeps all calls away from a store that asked to be left alone.
type Gate struct{ until atomic.Int64 } // Unix time in nanoseconds

func (g *Gate) hold(d time.Duration) {
	if d > 0 {
		g.until.Store(time.Now().Add(min(d, maxHold)).UnixNano())
	}
}

// wait returns when the gate is open, each caller at a moment of its own, or
// when the context ends.
func (g *Gate) wait(ctx context.Context) error {
	d := time.Until(time.Unix(0, g.until.Load()))
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d + rand.N(d/4+time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Ended is why a call to the endpoint ended with its context: it may never
// have been made.
func (g *Gate) Ended(ctx context.Context, endpoint string) error {
	if left := time.Until(time.Unix(0, g.until.Load())); left > 0 {
		return fmt.Errorf("the store asked to be left alone, for another %v: %w", left.Round(time.Second/10), context.Cause(ctx))
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, context.DeadlineExceeded) {
		return fmt.Errorf("no answer from %s in time: see that it is the endpoint of the store, and that the way there is open: %w", endpoint, cause)
	}
	return cause
}

// Do makes a call once the gate is open, and closes it when the answer says to
// come back later.
func (g *Gate) Do(r *http.Request, next func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	if err := g.wait(r.Context()); err != nil {
		return nil, err
	}
	answer, err := next(r)
	if err != nil {
		return answer, err
	}
	if answer.StatusCode == http.StatusServiceUnavailable || answer.StatusCode == http.StatusTooManyRequests {
		g.hold(retryAfter(answer.Header))
	}
	return answer, nil
}

// retryAfter reads the header of this name: seconds or a date.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 16); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

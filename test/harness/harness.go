// Package harness runs the real program under test: it builds it once, mounts
// it in temporary directories, lets processes of all kinds write numbered
// records, watches what readers see, kills what it started, and compares what
// was published with what was acknowledged.
//
// What a writer was told is noted out of band, so the comparison needs no
// trust in the program under test: see [Notes] and [Verify].
package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"
)

// Run runs the tests of a package, or the writer that this process was
// started as. Its result is for os.Exit.
func Run(m *testing.M) int {
	if text := os.Getenv(writerEnv); text != "" {
		if err := writeAs(text); err != nil {
			fmt.Fprintln(os.Stderr, "writer:", err) //nolint:errcheck // nothing is left to do
			return 1
		}
		return 0
	}
	code := m.Run()
	if err := removeBuilt(); err != nil {
		fmt.Fprintln(os.Stderr, "harness:", err) //nolint:errcheck // nothing is left to do
		code = max(code, 1)
	}
	return code
}

// ErrLate is what a condition ends with that did not come true.
var ErrLate = errors.New("waited too long")

// Await calls cond until it is true or ctx ends. It looks often: a condition
// is awaited, never an amount of time.
func Await(ctx context.Context, what string, cond func() bool) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", what, ErrLate, context.Cause(ctx))
		case <-tick.C:
		}
	}
	return nil
}

// Pass lets d pass, for kills at random instants. It ends early with ctx.
func Pass(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

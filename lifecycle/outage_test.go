package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
)

// TestOutageLeavesNothingBehind: checkpoints during an outage are partial for
// good; once the store is back, none of them keeps manifests from expiring.
func TestOutageLeavesNothingBehind(t *testing.T) {
	down := true
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}, Before: func(_ context.Context, op mem.Op, _ backend.Key) error {
		if down && op == mem.Put {
			return fmt.Errorf("down: %w", backend.ErrTransient)
		}
		return nil
	}})
	in := openInstance(t, Config{Store: store, Retain: 3, CommitTimeout: 10 * time.Millisecond})
	a, err := in.Create(t.Context(), in.Root(), "app.log", 0o644, Caller{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.OpenFile(a.Ino, Use{Write: true}, Caller{}); err != nil {
		t.Fatal(err)
	}
	f, err := in.Descriptor(a.Ino, os.O_WRONLY|os.O_APPEND)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range 8 {
		if i%2 == 0 { // every other checkpoint has nothing of its own
			if _, err := io.WriteString(f, "line\n"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := in.checkpoint(t.Context(), Now); !errors.Is(err, ErrIncomplete) {
			t.Fatalf("checkpoint %d during the outage: %v, want ErrIncomplete", i, err)
		}
	}
	down = false
	for range 2 {
		if _, err := in.checkpoint(t.Context(), Now); err != nil {
			t.Fatal(err)
		}
	}
	if len(in.partial) > 0 || len(in.retained) > 3 {
		t.Errorf("%d checkpoints are open, manifests of %v are kept; want none, and 3", len(in.partial), in.retained)
	}
	if got := len(store.Objects()); got != 4 {
		t.Errorf("%d objects, want 4", got)
	}
}

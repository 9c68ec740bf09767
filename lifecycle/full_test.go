//go:build faults

package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/internal/fault"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// diskFull leaves the journal no room from the n-th transaction on, until the
// func that it returns makes some.
func diskFull(t *testing.T, n int) (room func()) {
	t.Helper()
	arm(t, fmt.Sprintf("%s=error@%d-%d", fault.JournalRoom, n, 1<<20))
	return func() { fault.Arm("") }
}

// declined wants a checkpoint to fail for the full disk.
func declined(t *testing.T, in *Instance) {
	t.Helper()
	if c, err := in.checkpoint(t.Context(), Now); !errors.Is(err, journal.ErrFull) {
		t.Fatalf("checkpoint %d on a full disk is %s: %v", c.ID, c.State, err)
	}
}

// TestFaultQuarantineOnAFullDisk: a file whose quarantine could not be journaled
// is not forgotten.
func TestFaultQuarantineOnAFullDisk(t *testing.T) {
	var room func()
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}, After: func(_ context.Context, op mem.Op, k backend.Key) error {
		if op == mem.Stat && k == "a" && room == nil { // the store says that it is another's
			room = diskFull(t, 1)
		}
		return nil
	}})
	in := openInstance(t, Config{Store: store, Sinks: []Sink{fileSink()}, CommitTimeout: 30 * time.Millisecond})
	put(t, in, "a", "ours")
	store.Foreign("a", []byte("theirs"))
	declined(t, in)
	room()
	in.commitLeft(t.Context())
	if c, err := in.checkpoint(t.Context(), Now); err == nil && len(c.LeftOut) == 0 {
		t.Errorf("checkpoint %d is %s and leaves nothing out", c.ID, c.State)
	}
	if err := in.Rename(t.Context(), in.Root(), "a", in.Root(), "b", false); err != nil {
		t.Errorf("it cannot be taken back: %v", err)
	}
}

// TestFaultGrowthSealedOnAFullDisk: a part that was sent while it grew, and whose
// seal is journaled in half, is published once.
func TestFaultGrowthSealedOnAFullDisk(t *testing.T) {
	down := false
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 10}, Unit: 8, Before: func(_ context.Context, op mem.Op, _ backend.Key) error {
		if down && op == mem.Append {
			return fmt.Errorf("down: %w", backend.ErrTransient)
		}
		return nil
	}})
	s := streamSink()
	s.Coalesce = false
	c := Config{Store: store, Sinks: []Sink{s}, entries: 2}
	in := killable(t, &c)
	ino := create(t, in, "a.log")
	grow := func() error {
		in.look(in.source(ino))
		return in.growSource(t.Context(), in.source(ino))
	}
	appendOnce(t, in, ino, "a line that is sent while it grows\n")
	if err := grow(); err != nil {
		t.Fatal(err)
	}
	appendOnce(t, in, ino, "another line that is sent while it grows\n")
	for i := range 8 {
		appendOnce(t, in, create(t, in, fmt.Sprintf("b%d.log", i)), fmt.Sprintf("%d\n", i))
	}
	room := diskFull(t, 3)
	declined(t, in)
	room()
	down = true
	if err := grow(); err == nil {
		t.Fatal("it grew")
	}
	down = false
	publish(t, in)
	publish(t, reopen(t, in, c))
	if n := strings.Count(published(store), "a line that is"); n != 1 {
		t.Errorf("published %d times: %q", n, published(store))
	}
}

// TestFaultDeclinedOnAFullDisk: files of a checkpoint whose mark is journaled in
// half are still their writers'.
func TestFaultDeclinedOnAFullDisk(t *testing.T) {
	store := putStore()
	c := Config{Store: store, Sinks: []Sink{fileSink()}, entries: 2}
	in := killable(t, &c)
	for i := range 4 {
		put(t, in, fmt.Sprint("f", i), "old")
	}
	// The mark is cut, also with the reserve; that it was declined is journaled.
	arm(t, string(fault.JournalRoom)+"=error@5-6")
	declined(t, in)
	if err := in.Unlink(in.Root(), "f0"); err != nil {
		t.Fatal(err)
	}
	a, err := in.Lookup(in.Root(), "f1")
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, in, a.Ino, "new")
	publish(t, reopen(t, in, c))
	if got := published(store); got != "new|old|old" {
		t.Errorf("published %q", got)
	}
}

package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/internal/sinkfstest"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
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
	a, err := in.Create(in.Root(), "app.log", 0o644, Caller{})
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

// TestOutageEndsACheckpointOfManyParts: a store that takes nothing is noticed
// once, not once for each part.
func TestOutageEndsACheckpointOfManyParts(t *testing.T) {
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}, Before: func(_ context.Context, op mem.Op, _ backend.Key) error {
		if op == mem.Put {
			return fmt.Errorf("down: %w", backend.ErrTransient)
		}
		return nil
	}})
	sink := DefaultSink()
	sink.Coalesce = false
	const timeout = 200 * time.Millisecond
	in := openInstance(t, Config{Store: store, CommitTimeout: timeout, Sinks: []Sink{sink}})
	rounds := 40
	for i := range rounds * max(1, store.Properties().Parallel) {
		a, err := in.Create(in.Root(), fmt.Sprintf("%d.log", i), 0o644, Caller{})
		if err != nil {
			t.Fatal(err)
		}
		f, err := in.Descriptor(a.Ino, os.O_WRONLY|os.O_APPEND)
		if err == nil {
			_, err = io.WriteString(f, "line\n")
		}
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	c, err := in.checkpoint(t.Context(), Now)
	if !errors.Is(err, ErrIncomplete) {
		t.Fatalf("checkpoint: %v, want ErrIncomplete", err)
	}
	if took, each := time.Duration(c.DurationMS)*time.Millisecond, time.Duration(rounds)*timeout; took > each/2 {
		t.Errorf("the checkpoint took %v, one timeout after the other is %v", took, each)
	}
}

// TestRecoversUntilTheTargetAnswers: what nobody has asked yet is asked for at
// the start, and while it does not answer the mount says so.
func TestRecoversUntilTheTargetAnswers(t *testing.T) {
	var down atomic.Bool
	store := mem.New(mem.Options{Before: func(context.Context, mem.Op, backend.Key) error {
		if down.Load() {
			return fmt.Errorf("down: %w", backend.ErrTransient)
		}
		return nil
	}})
	dir := t.TempDir()
	first, err := Open(t.Context(), Config{StateDir: dir, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	down.Store(true)
	in := openInstance(t, Config{StateDir: dir, Store: store})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	sinkfstest.Eventually(t, "the target is down", func() bool { return in.Status().Target.State == "down" })
	if got := in.Status().State; got != Recovering {
		t.Errorf("the state is %s, want %s", got, Recovering)
	}
	down.Store(false)
	sinkfstest.Eventually(t, "the target is back", func() bool {
		got := in.Status()
		return got.State == Running && got.Target.State == "ok"
	})
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestJournalKeepsOneDeclinedCheckpoint: a store that cannot be staged to
// declines one checkpoint after the other.
func TestJournalKeepsOneDeclinedCheckpoint(t *testing.T) {
	store := mem.New(mem.Options{Before: func(_ context.Context, op mem.Op, _ backend.Key) error {
		if op == mem.Stage { // of everything: the store stages parts of any size
			return fmt.Errorf("down: %w", backend.ErrTransient)
		}
		return nil
	}})
	in := openInstance(t, Config{Store: store})
	writeOnce(t, in, "app.log", "line\n")
	for range 5 {
		if c, err := in.checkpoint(t.Context(), Now); err == nil || c.State != journal.Declined {
			t.Fatalf("checkpoint: %s, %v; want declined", c.State, err)
		}
	}
	if got := in.Status().Target; got.State != "down" || got.Error == "" {
		t.Errorf("the target is %s: %q; want down and why", got.State, got.Error)
	}
	declined := 0
	err := in.journal.Load(func(r journal.Record) error {
		if c, ok := r.(journal.Checkpoint); ok && c.State == journal.Declined {
			declined++
		}
		return nil
	})
	if err != nil || declined != 1 {
		t.Errorf("the journal keeps %d declined checkpoints, %v; want 1", declined, err)
	}
}

func writeOnce(t *testing.T, in *Instance, name, text string) {
	t.Helper()
	a, err := in.Create(in.Root(), name, 0o644, Caller{})
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
	if _, err := io.WriteString(f, text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	in.ReleaseFile(a.Ino, Use{Write: true})
}

// TestManifestsThatComeLate: the target gets the manifest of every checkpoint
// that published something, whenever that ended and whatever was down.
func TestManifestsThatComeLate(t *testing.T) {
	down := backend.Key("a") // below it
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}, Before: func(_ context.Context, op mem.Op, k backend.Key) error {
		if op == mem.Put && down != "" && strings.HasPrefix(string(k), string(down)) {
			return fmt.Errorf("down: %w", backend.ErrTransient)
		}
		return nil
	}})
	c := Config{Store: store, Sinks: []Sink{fileSink()}, Manifests: true, CommitTimeout: 10 * time.Millisecond}
	in := killable(t, &c)
	want := func(when string, ids ...string) {
		t.Helper()
		got := []string{}
		for k := range store.Objects() {
			if dir, name := k.Split(); strings.HasPrefix(string(dir), ManifestName) {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, ids) {
			t.Errorf("%s: the target has the manifests %q, want %q", when, got, ids)
		}
	}
	put(t, in, "a", "one")
	if _, err := in.checkpoint(t.Context(), Now); !errors.Is(err, ErrIncomplete) {
		t.Fatal(err)
	}
	want("it is still committing")
	down = ManifestName
	in.commitLeft(t.Context())
	in.sendOwed(t.Context())
	want("the manifest cannot be written")
	put(t, in, "b", "two")
	publish(t, in)
	down = ""
	in.sendOwed(t.Context())
	want("the target is back", "1.json", "2.json")
	down = ManifestName
	put(t, in, "c", "three")
	publish(t, in)
	in = reopen(t, in, c)
	down = ""
	in.sendOwed(t.Context())
	want("after a restart", "1.json", "2.json", "3.json")
}

// TestManifestsThatAreNeverTaken do not pile up.
func TestManifestsThatAreNeverTaken(t *testing.T) {
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}, Before: func(_ context.Context, op mem.Op, k backend.Key) error {
		if op == mem.Put && strings.HasPrefix(string(k), ManifestName) {
			return fmt.Errorf("refused: %w", backend.ErrPermission)
		}
		return nil
	}})
	in := openInstance(t, Config{Store: store, Sinks: []Sink{fileSink()}, Manifests: true, Retain: 2})
	for i := range 40 {
		put(t, in, fmt.Sprint(i), "body")
		publish(t, in)
	}
	if n := len(in.retained); n > owedAtMost*2 {
		t.Errorf("%d manifests are retained", n)
	}
}

// TestQuarantineLeavesNothingStaged: what was staged of a part that cannot be
// published is given up at once, for nothing else would ever name it.
func TestQuarantineLeavesNothingStaged(t *testing.T) {
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 4}})
	in := openInstance(t, Config{Store: store, Sinks: []Sink{fileSink()}})
	put(t, in, "a", "large enough to be staged")
	store.Foreign("a", []byte("theirs"))
	if _, err := in.checkpoint(t.Context(), Now); !errors.Is(err, ErrIncomplete) {
		t.Fatal(err)
	}
	if n := store.Staged(); n != 0 {
		t.Errorf("%d uploads are left", n)
	}
}

// TestPageAtEachKeyIsNoObject: a web server that has taken the store's place
// refuses what is sent and shows the same page at each key. Once the store is
// back, all is published under the names that it was prepared for.
func TestPageAtEachKeyIsNoObject(t *testing.T) {
	away := true
	var store *mem.Store
	store = mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}, Before: func(_ context.Context, op mem.Op, k backend.Key) error {
		switch {
		case !away:
			return nil
		case op == mem.Put:
			return fmt.Errorf("405 Not Allowed: %w", backend.ErrUnsupported)
		case op == mem.Stat:
			store.Foreign(k, []byte("<html>welcome</html>"))
		}
		return nil
	}})
	in := openInstance(t, Config{Store: store, Sinks: []Sink{fileSink()}, CommitTimeout: 50 * time.Millisecond})
	put(t, in, "a", "ours")
	wantFailed(t, in, "a")
	away = false
	if err := store.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	publish(t, in)
	if got := string(store.Objects()["a"]); got != "ours" {
		t.Errorf("published %q", got)
	}
}

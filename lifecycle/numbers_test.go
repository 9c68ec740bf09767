package lifecycle

import (
	"sync"
	"testing"

	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// TestNumbersNeverComeBack: whoever takes a number, and whichever write to the
// journal is the quicker one, the journal knows that it is taken.
func TestNumbersNeverComeBack(t *testing.T) {
	c := Config{StateDir: t.TempDir(), Store: mem.New(mem.Options{}), Target: "mem"}
	in, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	var others sync.WaitGroup
	take := func(more func() []journal.Record) {
		err := in.numbered(func() []journal.Record {
			in.take("/")
			return append([]journal.Record{in.counter("/")}, more()...)
		})
		if err != nil {
			t.Error(err)
		}
	}
	take(func() (slow []journal.Record) {
		others.Go(func() { take(func() []journal.Record { return nil }) }) // the number after
		for n := range uint64(10_000) {
			slow = append(slow, journal.Counter{Sink: "/other", Next: n})
		}
		return slow
	})
	others.Wait()
	want := in.counters["/"]
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if in, err = Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	}()
	if got := in.counters["/"]; got != want {
		t.Errorf("next number after a restart: got %d, want %d", got, want)
	}
}

// TestNumbersNeverComeBackWithOtherSinks: where sinks come and go, parts of two
// of them have one directory, one after the other.
func TestNumbersNeverComeBackWithOtherSinks(t *testing.T) {
	store := putStore()
	whole, below := streamSink(), streamSink()
	below.Path = "b"
	c := Config{Store: store, StateDir: t.TempDir()}
	seen := map[string]bool{}
	for i, sinks := range [][]Sink{{whole}, {whole}, {whole, below}, {whole, below}, {whole}, {whole, below}} {
		c.Sinks = sinks
		in, err := Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if _, err := in.Mkdir(t.Context(), in.Root(), "b", 0o755, Caller{}); err != nil {
				t.Fatal(err)
			}
		}
		d := in.tree.Lookup(in.tree.Root(), "b").ID().Ino
		a, err := in.Lookup(d, "a.log")
		if err != nil {
			if a, err = in.Create(d, "a.log", 0o644, Caller{}); err != nil {
				t.Fatal(err)
			}
		}
		appendOnce(t, in, a.Ino, "line\n")
		publish(t, in)
		for key := range store.Objects() {
			if seen[string(key)] {
				t.Errorf("mount %d: the name %q comes back", i, key)
			}
			seen[string(key)] = true
			if err := store.Delete(t.Context(), key); err != nil { // by a reader
				t.Fatal(err)
			}
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 6 {
		t.Errorf("%d parts, want 6: %v", len(seen), seen)
	}
}

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

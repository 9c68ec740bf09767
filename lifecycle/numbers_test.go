package lifecycle

import (
	"sync"
	"testing"

	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// TestNumbersNeverComeBack: whoever takes a number, and however their writes
// to the journal meet, the journal knows that it is taken.
func TestNumbersNeverComeBack(t *testing.T) {
	c := Config{StateDir: t.TempDir(), Store: mem.New(mem.Options{}), Target: "mem"}
	for range 10 {
		in, err := Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		var takers sync.WaitGroup
		for range 32 {
			takers.Go(func() {
				err := in.numbered(func() []journal.Record {
					in.take("/")
					return []journal.Record{in.counter("/")}
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		takers.Wait()
		want := in.counters["/"]
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		if in, err = Open(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if got := in.counters["/"]; got != want {
			t.Errorf("next number after a restart: got %d, want %d", got, want)
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

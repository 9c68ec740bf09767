//go:build faults

package fault_test

import (
	"errors"
	"testing"

	"github.com/sinkfs/sinkfs/internal/fault"
)

// TestFaultHits: a fault acts at the hits that it names, of its point alone.
func TestFaultHits(t *testing.T) {
	defer fault.Arm("")
	for what, want := range map[string]string{
		"":                           "....",
		"journal.write=error":        "x...",
		"journal.write=error@3":      "..x.",
		"journal.write=error@2-3":    ".xx.",
		"journal.write=error@2-1000": ".xxx",
		"journal.commit=error@1-9":   "....",
	} {
		fault.Arm(what)
		got := ""
		for range 4 {
			switch err := fault.Hit(fault.JournalWrite); {
			case err == nil:
				got += "."
			case errors.Is(err, fault.ErrInjected):
				got += "x"
			}
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", what, got, want)
		}
	}
}

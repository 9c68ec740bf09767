//go:build faults

package journal_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sinkfs/sinkfs/internal/fault"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// TestFaultsAroundATransaction: a process killed before or after any of its
// transactions keeps what it acknowledged; one that is told of an error
// acknowledges nothing more.
func TestFaultsAroundATransaction(t *testing.T) {
	for _, point := range []fault.Point{fault.JournalWrite, fault.JournalCommit} {
		for _, action := range []string{"kill", "error"} {
			for _, at := range []int{1, 2, 3, 17, 40} {
				t.Run(fmt.Sprintf("%s=%s@%d", point, action, at), func(t *testing.T) {
					dir := t.TempDir()
					t.Setenv(fault.Env, fmt.Sprintf("%s=%s@%d", point, action, at))
					w := startWriting(t, dir)
					<-w.read
					w.stopped = true
					err := w.cmd.Wait()
					if err == nil {
						t.Fatal("the fault was never hit")
					}
					if action == "error" && !strings.HasPrefix(w.err, "error: "+journal.ErrBroken.Error()) {
						t.Errorf("got %q, want %v", w.err, journal.ErrBroken)
					}
					survives(t, dir, w.now())
				})
			}
		}
	}
}

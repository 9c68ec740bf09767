package fusefs

import (
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
)

// TestForgetAfterATakeOver: the kernel may have looked a name up again before
// the FORGET of what an earlier worker told it arrives.
func TestForgetAfterATakeOver(t *testing.T) {
	for name, takenOver := range map[string]bool{"first worker": false, "later worker": true} {
		t.Run(name, func(t *testing.T) {
			mem, err := newMemory(nil)
			if err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			var nodes nodeTable
			nodes.init(mem)
			nodes.now = func() time.Time { return now }
			if takenOver {
				nodes.adopt(nil)
			}
			id := nodes.seen("a/part-0", backend.Info{Key: "a/part-0"})
			nodes.forget(id, 3)
			if _, known := nodes.get(id); known != takenOver {
				t.Errorf("after its FORGET: known %v, want %v", known, takenOver)
			}
			other := nodes.seen("b/part-0", backend.Info{Key: "b/part-0"})
			now = now.Add(lookupsDoubt + time.Second)
			nodes.forget(other, 1)
			if _, known := nodes.get(id); known {
				t.Error("it is kept for ever")
			}
			again := nodes.seen("a/part-0", backend.Info{Key: "a/part-0"})
			if _, known := nodes.get(again); again != id || !known {
				t.Errorf("looked up again: node %x, known %v, want %x", again, known, id)
			}
		})
	}
}

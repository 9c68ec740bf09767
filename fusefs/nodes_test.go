package fusefs

import (
	"fmt"
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

// TestFilesLookedUpLastSurviveTheWorker: a program that has found a name opens
// it, whoever answers.
func TestFilesLookedUpLastSurviveTheWorker(t *testing.T) {
	mem := emptyMemory(t)
	var before, after nodeTable
	before.init(mem)
	ids := make([]uint64, lookSlots+10)
	look := func(i int) {
		key := fmt.Sprintf("a/part-%d", i)
		ids[i] = before.seen(key, backend.Info{Key: backend.Key(key)})
	}
	for i := range ids {
		look(i)
		look(i / 2) // the same one again takes no place of another
	}
	after.init(mem)
	after.adopt(nil)
	for i := len(ids) / 2; i < len(ids); i++ {
		n, known := after.get(ids[i])
		if want := fmt.Sprintf("a/part-%d", i); !known || n.key != want {
			t.Errorf("node %x: known %v as %q, want %q", ids[i], known, n.key, want)
		}
	}
	if n := len(after.byID); n != lookSlots {
		t.Errorf("%d nodes are known, want %d", n, lookSlots)
	}
}

// TestDeadDirectoryAfterATakeOver: the kernel may still have a directory open
// that was removed, whoever removed it: its id is not another's.
func TestDeadDirectoryAfterATakeOver(t *testing.T) {
	mem := emptyMemory(t)
	var before, after nodeTable
	before.init(mem)
	id := before.seen("d", backend.Info{Key: "d", Dir: true})
	before.goneStored("d")
	after.init(mem)
	after.adopt(nil)
	if again := after.seen("d", backend.Info{Key: "d", Dir: true}); again == id {
		t.Errorf("the directory made anew has id %x of the one that was removed", id)
	}
}

// TestFindSkipsTheDead: a directory is found by the id that the kernel has, also
// when the one removed before was forgotten since.
func TestFindSkipsTheDead(t *testing.T) {
	mem := emptyMemory(t)
	var nodes nodeTable
	nodes.init(mem)
	first := nodes.seen("d", backend.Info{Key: "d", Dir: true})
	nodes.goneStored("d")
	second := nodes.seen("d", backend.Info{Key: "d", Dir: true})
	nodes.forget(first, 1)
	if id, ok := nodes.find("d"); !ok || id != second {
		t.Errorf("find = %x, %v, want %x", id, ok, second)
	}
}

// emptyMemory is what a mount begins with.
func emptyMemory(t *testing.T) *memory {
	t.Helper()
	mem, err := newMemory(nil)
	if err != nil {
		t.Fatal(err)
	}
	mem.reset()
	return mem
}

package fusefs

import (
	"testing"

	"github.com/sinkfs/sinkfs/backend"
)

// TestDeadDirectoryAfterATakeOver: the kernel may still have a directory open
// that was removed, whoever removed it: its id is not another's.
func TestDeadDirectoryAfterATakeOver(t *testing.T) {
	mem, err := newMemory(nil)
	if err != nil {
		t.Fatal(err)
	}
	mem.reset()
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
	mem, err := newMemory(nil)
	if err != nil {
		t.Fatal(err)
	}
	mem.reset()
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

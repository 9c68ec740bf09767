package fusefs

import (
	"testing"

	"pgregory.net/rapid"
)

func TestNodeIDsAreToldApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		low := rapid.Uint64Range(1, 1<<61-1)
		root, a, b := low.Draw(t, "root"), low.Draw(t, "a"), low.Draw(t, "b")
		for _, ino := range []uint64{root, 1, a, b} {
			if got := spoolID(spoolID(ino, root), root); got != ino {
				t.Fatalf("inode %d comes back as %d", ino, got)
			}
		}
		if spoolID(root, root) != rootID {
			t.Fatal("the root is not 1")
		}
		if a != b && spoolID(a, root) == spoolID(b, root) {
			t.Fatalf("inodes %d and %d share a node id", a, b)
		}
		ids := map[uint64]string{}
		for what, id := range map[string]uint64{
			"spool a": spoolID(a, root), "store a": storeID(a), "sinkfs of a": sinkfsID(spoolID(a, root)),
			"sinkfs of store a": sinkfsID(storeID(a)), "status": controlID(controlStatus, 0),
			"checkpoints": controlID(controlCheckpoints, sinkfsID(a)), "manifest": controlID(controlManifest, a),
		} {
			if other, taken := ids[id]; taken {
				t.Fatalf("%s and %s are both %x", what, other, id)
			}
			ids[id] = what
		}
		kind := controlKind(rapid.IntRange(1, int(controlMetrics)).Draw(t, "kind"))
		number := rapid.Uint64Range(0, numberMask).Draw(t, "number")
		if k, n := controlOf(controlID(kind, number)); k != kind || n != number {
			t.Fatalf("control %d %d comes back as %d %d", kind, number, k, n)
		}
	})
}

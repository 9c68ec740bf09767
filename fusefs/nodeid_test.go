package fusefs

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

func TestNodeIDsAreToldApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		low := rapid.Uint64Range(1, spool.MaxIno-1)
		root, a, b := low.Draw(t, "root"), low.Draw(t, "a"), low.Draw(t, "b")
		gen := rapid.Uint32().Draw(t, "gen")
		for _, ino := range []uint64{root, 1, a, b} {
			got, its := spoolInode(spoolID(ino, gen, root), root)
			if got != ino || ino != root && its != gen&genMask {
				t.Fatalf("inode %d of generation %x comes back as %d of %x", ino, gen, got, its)
			}
			if next := spoolID(ino, gen+1, root); ino != root && next == spoolID(ino, gen, root) {
				t.Fatalf("inode %d has node id %x again in its next life", ino, next)
			}
		}
		if spoolID(root, gen, root) != rootID {
			t.Fatal("the root is not 1")
		}
		if a != b && spoolID(a, gen, root) == spoolID(b, gen, root) {
			t.Fatalf("inodes %d and %d share a node id", a, b)
		}
		ids := map[uint64]string{}
		for what, id := range map[string]uint64{
			"spool a": spoolID(a, gen, root), "store a": storeID(a), "sinkfs of a": sinkfsID(spoolID(a, gen, root)),
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

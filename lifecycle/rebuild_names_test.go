package lifecycle

import (
	"fmt"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
)

// TestRebuildOfANameThatIsBoth: objects in a directory whose name an object has
// too are found, wherever a batch of the walk ends.
func TestRebuildOfANameThatIsBoth(t *testing.T) {
	for _, before := range []int{10, 999} {
		l := newLab(t)
		l.append("app.log", "once\n")
		l.commitOnly()
		var dir backend.Key
		for k := range l.store.Objects() {
			dir, _ = k.Split()
		}
		for i := range before {
			l.store.Foreign(backend.Key(fmt.Sprintf("!%04d", i)), nil)
		}
		l.store.Foreign(dir, nil) // as some tools mark a directory
		l.store.Foreign("zzz", nil)
		l.lose()
		r := l.rebuild()
		t.Logf("%d objects before it: rebuilt objects %d, sources %+v, gaps %v, warnings %v", before, r.Objects, r.Sources, r.Gaps, r.Warnings)
		l.checkpoint()
		n := 0
		for k, body := range l.store.Objects() {
			if string(body) == "once\n" {
				n++
				t.Logf("  %s: %q", k, body)
			}
		}
		if n != 1 {
			t.Errorf("with %d objects before it the record is in %d parts", before, n)
		}
	}
}

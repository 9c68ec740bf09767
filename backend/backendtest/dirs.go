package backendtest

import (
	"testing"

	"github.com/sinkfs/sinkfs/backend"
)

// testRemoveDir: a store without directories of its own has no empty ones.
func testRemoveDir(t *testing.T, target Target) {
	s := target.Store
	put(t, s, "d/e/a", "body")
	put(t, s, "f", "body")
	r, ok := s.(backend.DirRemover)
	if ok {
		for _, k := range []backend.Key{"d", "d/e"} {
			WantKind(t, "RemoveDir of a directory with something in it", r.RemoveDir(t.Context(), k), backend.ErrNotEmpty)
		}
		for _, k := range []backend.Key{"d/no", "no/no", "f", "f/no"} {
			WantKind(t, "RemoveDir of "+string(k), r.RemoveDir(t.Context(), k), backend.ErrNotExist)
		}
		for _, k := range []backend.Key{"", "..", "d/..", "/d"} {
			WantKind(t, "RemoveDir of "+string(k), r.RemoveDir(t.Context(), k), backend.ErrKey)
		}
	}
	wantNames(t, s, "d/e", "", "a")
	if err := s.Delete(t.Context(), "d/e/a"); err != nil {
		t.Fatalf("Delete = %v", err)
	}
	for _, k := range []backend.Key{"d/e", "d"} {
		if ok {
			if err := r.RemoveDir(t.Context(), k); err != nil {
				t.Errorf("RemoveDir(%q) = %v", k, err)
			}
		}
		wantAbsent(t, s, k)
	}
	put(t, s, "d/e/a", "again")
	wantNames(t, s, "d/e", "", "a")
}

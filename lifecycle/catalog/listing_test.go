package catalog_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/lifecycle/catalog"
)

func TestListIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote()
		c := catalog.New(r, catalog.Options{})
		for _, k := range []backend.Key{"d/a", "d/b", "d/c", "_sinkfs/0123/1.json", "d/_sinkfs/x", "d/.sinkfs", ".sinkfs"} {
			r.put(t, k, "body")
		}
		wantNames(t, c, "", "", "d")
		for range 3 {
			wantNames(t, c, "d", "", "_sinkfs", "a", "b", "c")
			wantNames(t, c, "d", "a", "b", "c")
			wantNames(t, c, "d", "aa", "b", "c")
			wantNames(t, c, "d", "c")
		}
		wantCalls(t, r, mem.List, 2)
		r.put(t, "d/bb", "others")
		time.Sleep(1100 * time.Millisecond)
		// Whoever is in the middle of a directory goes on in the same one.
		wantNames(t, c, "d", "b", "c")
		wantCalls(t, r, mem.List, 0)
		wantNames(t, c, "d", "", "_sinkfs", "a", "b", "bb", "c")
		wantCalls(t, r, mem.List, 1)
		if err := c.List(t.Context(), "no", "", nil); !errors.Is(err, backend.ErrNotExist) {
			t.Errorf("List of no directory = %v", err)
		}
		enough := errors.New("enough")
		if err := c.List(t.Context(), "d", "", func(string, backend.Info) error { return enough }); !errors.Is(err, enough) {
			t.Errorf("List = %v", err)
		}
	})
}

// TestObjectAndDirectory: where a store has both, the object is seen.
func TestObjectAndDirectory(t *testing.T) {
	r := newRemote()
	c := catalog.New(r, catalog.Options{})
	r.put(t, "d", "body")
	r.put(t, "d/a", "body")
	wantNames(t, c, "", "", "d")
	wantFile(t, c, "d", 4)
}

func TestListOfALargeDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &many{Store: newRemote()}
		for i := range 200_000 {
			m.names = append(m.names, fmt.Sprintf("part-%06d", i))
		}
		c := catalog.New(m, catalog.Options{})
		wantNames(t, c, "d", "", m.names...)
		wantNames(t, c, "d", m.names[150_000], m.names[150_001:]...)
		wantNames(t, c, "d", m.names[10], m.names[11:]...)
		if known, _ := c.Exists("d/zzz"); known {
			t.Error("Exists knows what is beyond the part of the listing that is remembered")
		}
		if known, exists := c.Exists("d/part-000000x"); !known || exists {
			t.Errorf("Exists = %v, %v", known, exists)
		}
	})
}

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

// TestManyNewNamesAreLookedUpTogether: a program that makes many files does
// not wait for the store with each.
func TestManyNewNamesAreLookedUpTogether(t *testing.T) {
	for name, others := range map[string]int{"a directory of the mount alone": 0, "a directory in the store": 500} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRemote()
				c := catalog.New(r, catalog.Options{})
				for i := range others {
					r.put(t, backend.Key(fmt.Sprintf("d/old-%03d", i)), "body")
				}
				wantAbsent := func(from, to int) {
					t.Helper()
					for i := from; i < to; i++ {
						if _, err := c.Stat(t.Context(), backend.Key(fmt.Sprintf("d/new-%d", i))); !errors.Is(err, backend.ErrNotExist) {
							t.Errorf("Stat of a new name: %v, want %v", err, backend.ErrNotExist)
						}
					}
				}
				wantAbsent(0, 1000)
				wantCalls(t, r, mem.List, 1)
				wantCalls(t, r, mem.Stat, 3)
				if known, exists := c.Exists("d/new-1000"); !known || exists {
					t.Errorf("Exists of the next name = %v, %v, want that it is known to be absent", known, exists)
				}

				r.put(t, "d/of-another-host", "body")
				time.Sleep(1100 * time.Millisecond)
				if known, _ := c.Exists("d/of-another-host"); known {
					t.Error("Exists knows what was seen a second ago")
				}
				if _, err := c.Stat(t.Context(), "d/of-another-host"); err != nil {
					t.Errorf("Stat of what another host published a second ago: %v", err)
				}
				wantAbsent(1000, 2000)
				wantCalls(t, r, mem.List, 1)
				wantCalls(t, r, mem.Stat, 1)

				r.put(t, "d/ours", "body")
				c.Published(backend.Info{Key: "d/ours", Size: 4, Owned: true})
				if known, exists := c.Exists("d/ours"); !known || !exists {
					t.Errorf("Exists of what we published = %v, %v", known, exists)
				}
				if _, err := c.Stat(t.Context(), "d/ours"); err != nil {
					t.Errorf("Stat of what we published just now: %v", err)
				}
			})
		})
	}
}

// TestNewNamesInALargeDirectory: what the short listing does not reach is
// asked for by name.
func TestNewNamesInALargeDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote()
		c := catalog.New(r, catalog.Options{})
		for i := range 2000 {
			r.put(t, backend.Key(fmt.Sprintf("d/%04d", i)), "body")
		}
		for i := range 100 {
			if _, err := c.Stat(t.Context(), backend.Key(fmt.Sprintf("d/9-%d", i))); !errors.Is(err, backend.ErrNotExist) {
				t.Errorf("Stat of a new name: %v", err)
			}
		}
		if _, err := c.Stat(t.Context(), "d/1999"); err != nil {
			t.Errorf("Stat of the last name: %v", err)
		}
		wantCalls(t, r, mem.List, 1)
	})
}

// TestNameThatAListingShows: whoever saw a name in a directory finds it, though
// it was looked up in vain just before.
func TestNameThatAListingShows(t *testing.T) {
	for _, vain := range []int{0, 10} { // asked for by name, and by a listing of many
		synctest.Test(t, func(t *testing.T) {
			r := newRemote()
			r.put(t, "d/old", "body")
			c := catalog.New(r, catalog.Options{})
			for i := range vain {
				_, _ = c.Stat(t.Context(), backend.Key(fmt.Sprintf("d/new-%d", i))) // absent
			}
			if _, err := c.Stat(t.Context(), "d/x"); !errors.Is(err, backend.ErrNotExist) {
				t.Fatal(err)
			}
			r.put(t, "d/x", "body") // of another host
			time.Sleep(time.Millisecond)
			if err := c.List(t.Context(), "d", "", func(string, backend.Info) error { return nil }); err != nil {
				t.Fatal(err)
			}
			if known, exists := c.Exists("d/x"); known && !exists {
				t.Error("it is known as absent")
			}
			if _, err := c.Stat(t.Context(), "d/x"); err != nil {
				t.Errorf("after %d names in vain: %v", vain, err)
			}
		})
	}
}

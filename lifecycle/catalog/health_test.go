package catalog_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/lifecycle/catalog"
)

func TestOutageIsAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote()
		c := catalog.New(r, catalog.Options{})
		r.put(t, "d/a", "body")
		wantFile(t, c, "d/a", 4)
		r.took(mem.Stat)
		r.set(errDown, 2*time.Second)

		began := time.Now()
		wantStat(t, c, "d/b", backend.ErrTransient)
		for i := range 1000 {
			wantStat(t, c, backend.Key(fmt.Sprintf("d/%d", i)), backend.ErrTransient)
		}
		if err := c.List(t.Context(), "d", "", nil); !errors.Is(err, backend.ErrTransient) {
			t.Errorf("List = %v", err)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("1,001 lookups took %v, want one that waits", took)
		}
		wantCalls(t, r, mem.Stat, 1)

		// What is known of a finished file stays true.
		time.Sleep(2 * time.Minute)
		wantFile(t, c, "d/a", 4)

		// One caller at a time finds out whether it is over.
		time.Sleep(2 * time.Second)
		r.took(mem.Stat)
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() { wantStat(t, c, backend.Key(fmt.Sprintf("e/%d", i)), backend.ErrTransient) })
		}
		wg.Wait()
		wantCalls(t, r, mem.Stat, 1)

		r.set(nil, 0)
		time.Sleep(2 * time.Second)
		wantStat(t, c, "d/b", backend.ErrNotExist)
		wantFile(t, c, "d/a", 4)
	})
}

func TestSilenceIsAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote()
		c := catalog.New(r, catalog.Options{Timeout: 5 * time.Second})
		r.set(nil, time.Hour)
		began := time.Now()
		wantStat(t, c, "a", backend.ErrTransient)
		wantStat(t, c, "b", backend.ErrTransient)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("a silent store was waited for for %v", took)
		}
		time.Sleep(2 * time.Second)
		began = time.Now()
		if err := c.List(t.Context(), "", "", nil); !errors.Is(err, backend.ErrTransient) {
			t.Errorf("List = %v", err)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("a silent store was waited for for %v", took)
		}
	})
}

// TestAnswersAreNoOutage: a refusal is one name's, not the store's.
func TestAnswersAreNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote()
		c := catalog.New(r, catalog.Options{})
		r.set(backend.ErrPermission, 0)
		wantStat(t, c, "a", backend.ErrPermission)
		r.set(nil, 0)
		wantStat(t, c, "a", backend.ErrNotExist)
	})
}

package journal_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/internal/testfs"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// survives checks that all that was acknowledged is in dir, and no call in
// part, and returns where its writers stand.
func survives(t *testing.T, dir string, acked [writers]uint64) [writers]uint64 {
	t.Helper()
	if _, err := journal.Verify(dir); err != nil && (acked != [writers]uint64{} || !errors.Is(err, os.ErrNotExist)) {
		t.Fatalf("Verify: %v", err)
	}
	j, err := journal.Open(journal.Options{Dir: dir, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld()
	if err := j.Load(w.add); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if wrong := w.check(); wrong != "" {
		t.Error(wrong)
	}
	var at [writers]uint64
	for i := range at {
		if at[i] = w.number(uint64(i)); at[i] < acked[i] {
			t.Errorf("writer %d: got %d after the crash, but %d was acknowledged", i, at[i], acked[i])
		}
	}
	return at
}

func TestKilledAtAnyInstantKeepsWhatWasAcknowledged(t *testing.T) {
	dir := t.TempDir()
	var at [writers]uint64
	for round := range 20 {
		w := startWriting(t, dir)
		wait := time.Duration(rand.Int64N(int64(60 * time.Millisecond))) // it may still be opening
		if round%2 == 0 {
			w.reaches(t, at, 2)
			wait /= 4
		}
		select {
		case <-w.read:
			t.Fatalf("the writer ended: %s", w.err)
		case <-time.After(wait):
		}
		w.kill()
		acked := w.now()
		for i := range acked {
			acked[i] = max(acked[i], at[i])
		}
		if at = survives(t, dir, acked); t.Failed() {
			return
		}
	}
}

func TestPowerCutKeepsWhatWasAcknowledged(t *testing.T) {
	for _, kind := range []testfs.Kind{testfs.Ext4, testfs.XFS} {
		t.Run(string(kind), func(t *testing.T) {
			disk := testfs.NewPowerCut(t, kind, 400)
			w := startWriting(t, disk.Dir())
			for range 4 {
				before := w.now()
				w.reaches(t, before, 8+rand.Uint64N(10))
				acked := w.now()
				cut := disk.Cut(t)
				if survives(t, cut, acked); t.Failed() {
					return
				}
			}
			w.kill() // before its file system is unmounted
		})
	}
}

package journal_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

func open(t *testing.T, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(journal.Options{Dir: dir, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

func loadAll(t *testing.T, j *journal.Journal) []journal.Record {
	t.Helper()
	var got []journal.Record
	err := j.Load(func(r journal.Record) error {
		got = append(got, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func part(id uint64, ranges int) journal.Part {
	p := journal.Part{
		ID: id, Sink: "/events", N: id, Bucket: "2026-01-31--09", Key: fmt.Sprintf("events/2026-01-31--09/part-9f3c-%d.log", id),
		State: journal.Pending, Sealed: time.Unix(1_790_000_000, 0).UTC(),
	}
	for i := range ranges {
		p.Ranges = append(p.Ranges, journal.PartRange{
			Source: journal.SourceID{Ino: uint64(i)*7919 ^ id, Gen: uint32(i)},
			Path:   fmt.Sprintf("events/host-%05d/app.log", i),
			Range:  journal.Range{Off: int64(i) * 4096, Len: 4096},
		})
	}
	return p
}

func TestLoadReturnsWhatWasWrittenInOrderOfKindAndIdentity(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	id := journal.SourceID{Ino: 7, Gen: 1}
	must(t, j.Write(
		part(300, 1), part(2, 3), journal.Checkpoint{ID: 9, State: journal.Prepared},
		journal.Source{ID: id, Path: "/a", Finished: []journal.Range{{Off: 1, Len: 2}}},
		journal.Source{ID: journal.SourceID{Ino: 8}}, journal.Counter{Sink: "/", Next: 4},
		journal.Instance{UID: "9f3c", Target: "file:///x"}, part(5, 0), journal.Checkpoint{ID: 8},
	))
	must(t, j.Mark(journal.Checkpoint{ID: 9, State: journal.Complete}, journal.DropPart{ID: 5},
		journal.DropSource{ID: journal.SourceID{Ino: 8}}, journal.DropCheckpoint{ID: 8}, journal.DropPart{ID: 77}))
	want := []journal.Record{
		journal.Instance{UID: "9f3c", Target: "file:///x"},
		journal.Counter{Sink: "/", Next: 4},
		journal.Source{ID: id, Path: "/a", Finished: []journal.Range{{Off: 1, Len: 2}}},
		journal.Checkpoint{ID: 9, State: journal.Complete},
		part(2, 3), part(300, 1),
	}
	if diff := cmp.Diff(want, loadAll(t, j)); diff != "" {
		t.Errorf("before reopening (-want +got):\n%s", diff)
	}
	must(t, j.Close())
	j = open(t, dir)
	if diff := cmp.Diff(want, loadAll(t, j)); diff != "" {
		t.Errorf("after reopening (-want +got):\n%s", diff)
	}
}

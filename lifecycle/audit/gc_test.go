package audit_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/lifecycle/audit"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

func garbage(t *testing.T, in audit.Input) []string {
	t.Helper()
	rows, err := audit.Garbage(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, r := range rows {
		paths = append(paths, r.Path)
	}
	return paths
}

// TestOnlyWhatIsProvedIsGarbage: of all that looks unreferenced, only what
// stands elsewhere, finished, goes.
func TestOnlyWhatIsProvedIsGarbage(t *testing.T) {
	s := mem.New(mem.Options{})
	first := part(10, 10, put(t, s, "events/a", "a", meta(10, 10, 0)), journal.Finished)
	put(t, s, "events/a-again", "a", meta(10, 10, 0)) // the same part twice

	pending := part(11, 11, put(t, s, "events/b", "b", meta(11, 11, 0)), journal.Pending)
	put(t, s, "events/b-again", "b", meta(11, 11, 0)) // its part is not finished

	gone := part(12, 12, backend.Info{Key: "events/gone", Size: 1}, journal.Finished)
	put(t, s, "events/c", "c", meta(12, 12, 0)) // all that is left of its part

	changed := part(13, 13, put(t, s, "events/d", "d", meta(13, 13, 0)), journal.Finished)
	changed.Bytes = 7
	put(t, s, "events/d-again", "d", meta(13, 13, 0)) // its part is not what it should be

	put(t, s, "events/newer", "x", meta(1000, 1000, 0)) // the journal is older
	s.Foreign("events/foreign", []byte("x"))

	in := audit.Input{Store: s, State: audit.Fixed(audit.State{Records: records(first, pending, gone, changed)})}
	if d := cmp.Diff([]string{"events/a-again"}, garbage(t, in)); d != "" {
		t.Errorf("garbage (-want +got)\n%s", d)
	}
	if got := garbage(t, audit.Input{Store: s, State: audit.Fixed(audit.State{})}); len(got) > 0 {
		t.Errorf("without a journal %v is garbage", got)
	}
}

func TestRemoveProvesAgain(t *testing.T) {
	s := mem.New(mem.Options{})
	p := part(10, 10, put(t, s, "events/a", "a", meta(10, 10, 0)), journal.Finished)
	put(t, s, "events/a-again", "a", meta(10, 10, 0))
	in := audit.Input{Store: s, State: audit.Fixed(audit.State{Records: records(p)})}
	rows, err := audit.Garbage(t.Context(), in)
	if err != nil || len(rows) != 1 {
		t.Fatalf("got %v, %v", rows, err)
	}
	if err := s.Delete(t.Context(), "events/a"); err != nil {
		t.Fatal(err)
	}
	if err := audit.Remove(t.Context(), in, rows[0]); !errors.Is(err, audit.ErrReferenced) {
		t.Errorf("the last copy: %v", err)
	}
	put(t, s, "events/a", "a", meta(10, 10, 0))
	if err := audit.Remove(t.Context(), in, rows[0]); err != nil {
		t.Error(err)
	}
	if _, err := s.Stat(t.Context(), "events/a-again"); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if r := fsck(t, in); r.Problems != 0 {
		t.Errorf("problems left: %+v", r.Rows)
	}
}

func TestStateCrossesProcesses(t *testing.T) {
	s := audit.State{
		Records: records(
			journal.Source{ID: journal.SourceID{Ino: 3, Gen: 4}, Path: "a.log", Finished: []journal.Range{{Off: 1, Len: 2}}},
			journal.Checkpoint{ID: 3, State: journal.Complete},
			part(10, 10, backend.Info{Key: "events/a"}, journal.Finished),
		),
		Retired: []journal.Part{part(9, 9, backend.Info{Key: "events/9"}, journal.Finished)},
		Sources: []audit.Source{{ID: journal.SourceID{Ino: 3, Gen: 4}, Path: "a.log", Kind: spool.Stream, Size: 9, Done: 3, Unlinked: true}},
	}
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var got audit.State
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s, got); d != "" {
		t.Errorf("(-sent +received)\n%s", d)
	}
}

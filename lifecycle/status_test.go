package lifecycle

import (
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend/mem"
)

// TestStreamTellsItsLatestCheckpoint from its very first part on, also while
// newer bytes wait, and after a restart.
func TestStreamTellsItsLatestCheckpoint(t *testing.T) {
	store := mem.New(mem.Options{})
	c := Config{Store: store, StateDir: t.TempDir()}
	in, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	writeOnce(t, in, "app.log", "one\n")
	ino := in.tree.Lookup(in.tree.Root(), "app.log").ID().Ino
	check := func(when string, checkpoint uint64, url bool) {
		t.Helper()
		f, err := in.File(ino)
		if err != nil || f.Checkpoint != checkpoint || (f.URL != "") != url {
			t.Errorf("%s: checkpoint %d, URL %q, %v; want checkpoint %d", when, f.Checkpoint, f.URL, err, checkpoint)
		}
	}
	check("written", 0, false)
	for n := range uint64(3) {
		if _, err := in.checkpoint(t.Context(), Now); err != nil {
			t.Fatal(err)
		}
		check("published", n+1, true)
		appendOnce(t, in, ino, "more\n")
		check("more written", n+1, true)
	}
	in.archive(nil, nil)
	if err := in.write(in.journal.Write); err != nil { // the parts leave the journal
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if in, err = Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	defer in.Close() //nolint:errcheck // nothing is written any more
	check("opened again", 3, true)
}

// TestStatusSaysWhatSealsASource at each moment of its life.
func TestStatusSaysWhatSealsASource(t *testing.T) {
	sink := DefaultSink()
	sink.Rolling.RolloverInterval, sink.Rolling.InactivityInterval = time.Hour, time.Minute
	in := openInstance(t, Config{Store: mem.New(mem.Options{}), Sinks: []Sink{sink}})
	writeOnce(t, in, "app.log", "one\n")
	ino := in.tree.Lookup(in.tree.Root(), "app.log").ID().Ino
	row := func(when, by string, soon bool) {
		t.Helper()
		rows := in.Status().Sources
		if len(rows) != 1 {
			t.Fatalf("%s: rows %v", when, rows)
		}
		r := rows[0]
		if left := time.Until(r.RollsAt); r.RollsBy != by || soon != (left > 50*time.Second && left <= time.Minute) {
			t.Errorf("%s: sealed by %q in %v, want by %q", when, r.RollsBy, left, by)
		}
	}
	row("just written", "inactivity", true)
	s := in.source(ino)
	s.mu.Lock()
	_, err := s.observe(in.now())
	s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	row("noticed", "inactivity", true)
	if _, err := in.checkpoint(t.Context(), Now); err != nil {
		t.Fatal(err)
	}
	if _, err := in.OpenFile(ino, Use{Write: true}, Caller{}); err != nil {
		t.Fatal(err)
	}
	row("nothing left, and open", "", false)
	appendOnce(t, in, ino, "torn")
	if _, err := in.checkpoint(t.Context(), Now); err != nil {
		t.Fatal(err)
	}
	row("a record without its end", "close", false)
}

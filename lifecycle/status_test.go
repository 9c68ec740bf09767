package lifecycle

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
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
		var at time.Time
		if r.RollsAt != nil {
			at = *r.RollsAt
		}
		if left := time.Until(at); r.RollsBy != by || soon != (left > 50*time.Second && left <= time.Minute) {
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

// TestRemovedSpoolFileIsTold: bytes that somebody took away can never be
// published, and no checkpoint says that all is well.
func TestRemovedSpoolFileIsTold(t *testing.T) {
	for _, how := range []string{"closed", "open", "seen", "file"} {
		t.Run(how, func(t *testing.T) {
			sinks := []Sink{streamSink()}
			sinks[0].Whole = []string{"*.gz"}
			c := Config{StateDir: t.TempDir(), Store: putStore(), Sinks: sinks}
			in := openInstance(t, c)
			name := "a.log"
			if how == "file" {
				name = "a.gz"
			}
			ino := create(t, in, name)
			appendOnce(t, in, create(t, in, "b.log"), "kept\n")
			if how == "open" {
				openFor(t, in, ino, Use{Write: true})
				defer in.ReleaseFile(ino, Use{Write: true})
			}
			appendOnce(t, in, ino, "lost\n")
			if how == "seen" {
				in.look(in.source(ino))
			}
			if err := os.Remove(filepath.Join(c.StateDir, "spool", "tree", name)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				r, err := in.checkpoint(t.Context(), Now)
				if !errors.Is(err, ErrIncomplete) || len(r.Failed) != 1 || r.Failed[0].Path != name {
					t.Errorf("checkpoint: %v, %+v", err, r.Failed)
				}
			}
			if l := in.Status().Lost; len(l) != 1 || l[0].Path != name {
				t.Errorf("lost: %+v", l)
			}
		})
	}
}

// TestScratchIsTold: a name that is never published is an event at each name
// that it has, and a checkpoint says why it left the bytes out.
func TestScratchIsTold(t *testing.T) {
	var logged bytes.Buffer
	s := streamSink()
	s.Temporary = []string{"*.tmp"}
	in := openInstance(t, Config{Store: putStore(), Sinks: []Sink{s}, Log: slog.New(slog.NewTextHandler(&logged, nil))})
	ino := create(t, in, "a.tmp")
	openFor(t, in, ino, Use{Write: true})
	defer in.ReleaseFile(ino, Use{Write: true})
	appendOnce(t, in, ino, "one\n")
	why := func() string {
		t.Helper()
		c, err := in.checkpoint(t.Context(), Now)
		if err != nil || len(c.LeftOut) != 1 {
			t.Fatalf("%v, %+v", err, c.LeftOut)
		}
		return c.LeftOut[0].Reason
	}
	if got := why(); got != "its name is never published" {
		t.Errorf("left out: %s", got)
	}
	for _, to := range []string{"b.tmp", "c.log"} {
		from := in.source(ino).node.Name()
		if err := in.Rename(t.Context(), in.Root(), from, in.Root(), to, false); err != nil {
			t.Fatal(err)
		}
	}
	if got := why(); !strings.Contains(got, "a program has the file open") {
		t.Errorf("left out: %s", got)
	}
	for name, want := range map[string]bool{"a.tmp": true, "b.tmp": true, "c.log": false} {
		if got := strings.Contains(logged.String(), "path="+name); got != want {
			t.Errorf("the log names %s: %v, want %v:\n%s", name, got, want, logged.String())
		}
	}
}

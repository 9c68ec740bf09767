package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// TestRebuildRefuses: what it would have to guess is named, and nothing has
// changed.
func TestRebuildRefuses(t *testing.T) {
	state := func(l *lab, names ...string) string {
		return filepath.Join(append([]string{l.c.StateDir}, names...)...)
	}
	for _, tt := range []struct {
		name  string
		spoil func(l *lab) error
		says  string
		kind  error
	}{
		{"no base", func(l *lab) error { return os.Remove(state(l, "rebuild", "base")) }, "rebuild/base", ErrUnproved},
		{"a damaged base", func(l *lab) error { return os.Truncate(state(l, "rebuild", "base"), 100) }, "is damaged", ErrUnproved},
		{"a manifest less", func(l *lab) error { return os.Remove(state(l, "manifests", "2.json")) }, "manifest of checkpoint 2 is missing", ErrUnproved},
		{"a damaged manifest", func(l *lab) error { return os.Truncate(state(l, "manifests", "3.json"), 50) }, "3.json is damaged", ErrUnproved},
		{"a damaged note", func(l *lab) error {
			pages, err := filepath.Glob(state(l, "rebuild", "notes-*"))
			return errors.Join(err, os.WriteFile(pages[0], []byte("?\n"), 0o600))
		}, "is damaged", ErrUnproved},
		{"another target", func(l *lab) error {
			l.c.Store = mem.New(mem.Options{Properties: backend.Properties{Identity: "another"}})
			return nil
		}, "belongs to target mem://target", ErrState},
		{"a cut spool file", func(l *lab) error { return os.Truncate(state(l, "spool", "tree", "app.log"), 3) }, "'truncate -s 6'", ErrState},
		{"a target that does not answer", func(l *lab) error {
			l.c.Store = mem.New(mem.Options{Before: func(_ context.Context, op mem.Op, _ backend.Key) error {
				return fmt.Errorf("%s: %w", op, backend.ErrTransient)
			}})
			return nil
		}, "temporary failure", ErrTarget},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t)
			for _, text := range []string{"1\n", "2\n", "3\n"} {
				l.append("app.log", text)
				l.checkpoint()
			}
			l.append("app.log", "4\n")
			l.lose()
			if err := tt.spoil(l); err != nil {
				t.Fatal(err)
			}
			_, err := Rebuild(t.Context(), l.c, RebuildOptions{})
			if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %v and %q", err, tt.kind, tt.says)
			}
			if _, err := os.Stat(state(l, "journal")); err == nil {
				t.Error("there is a journal")
			}
		})
	}
}

// TestRebuildOfTheUnproved publishes what may be finished, when told, from the
// end of the record that was released last.
func TestRebuildOfTheUnproved(t *testing.T) {
	l := newLab(t)
	line := strings.Repeat("x", 99) + "\n"
	l.append("app.log", strings.Repeat(line, 30_000)) // of which the first 2 MB are released
	l.checkpoint()
	l.consume()
	l.append("app.log", "new\n")
	a, err := l.in.Lookup(l.in.Root(), "app.log")
	if err != nil {
		t.Fatal(err)
	}
	_, done := l.in.Extent(a.Ino)
	l.lose()
	if done == 0 || done%100 == 0 {
		t.Fatalf("%d bytes are released", done)
	}
	for _, name := range []string{"manifests", "rebuild"} {
		if err := os.RemoveAll(filepath.Join(l.c.StateDir, name)); err != nil {
			t.Fatal(err)
		}
	}
	o := RebuildOptions{Instances: []string{l.in.uid}}
	if _, err := Rebuild(t.Context(), l.c, o); !errors.Is(err, ErrUnproved) || !strings.Contains(err.Error(), fmt.Sprintf("released up to byte %d", done)) {
		t.Errorf("got %v", err)
	}
	o.Unproved = true
	if _, err := Rebuild(t.Context(), l.c, o); err != nil {
		t.Fatal(err)
	}
	l.open()
	rest := 3_000_000 - (done/100+1)*100
	l.publishes(strings.Repeat(line, int(rest/100)) + "new\n")
}

// TestRebuildOfTheUnprovedKeepsTheBase: the spool file itself says where it was
// truncated last, so that no record goes on behind it.
func TestRebuildOfTheUnprovedKeepsTheBase(t *testing.T) {
	l := newLab(t)
	l.append("app.log", "torn")
	a, err := l.in.Lookup(l.in.Root(), "app.log")
	if err == nil {
		_, err = l.in.Truncate(a.Ino, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	l.append("app.log", "whole\n")
	l.lose()
	if err := os.RemoveAll(filepath.Join(l.c.StateDir, "rebuild")); err != nil {
		t.Fatal(err)
	}
	if _, err := Rebuild(t.Context(), l.c, RebuildOptions{Unproved: true}); err != nil {
		t.Fatal(err)
	}
	l.open()
	l.publishes("torn", "whole\n")
}

// TestRebuildSaysWhatWasPublishedTwice, it cannot undo it.
func TestRebuildSaysWhatWasPublishedTwice(t *testing.T) {
	l := newLab(t)
	l.append("app.log", "1\n")
	l.checkpoint()
	p := l.in.recent[0]
	meta := backend.Meta{
		MetaInstance: l.in.uid, MetaPart: "77", MetaN: "77", MetaAttempt: "1",
		MetaRanges: fmt.Sprintf("%d.%d:0+2", p.Sources[0].Ino, p.Sources[0].Gen),
	}
	if _, err := l.store.Put(t.Context(), backend.Object{
		Key: "twice", Size: 2, Meta: meta,
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("1\n")), nil },
	}); err != nil {
		t.Fatal(err)
	}
	l.lose()
	r, err := Rebuild(t.Context(), l.c, RebuildOptions{})
	if err != nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "published twice") {
		t.Errorf("%+v, %v", r, err)
	}
	l.open()
	if next := l.in.counters[partIDs]; next != 78 {
		t.Errorf("the next part is %d", next)
	}
	var uids []string
	if err := l.in.journal.Load(func(r journal.Record) error {
		if i, ok := r.(journal.Instance); ok {
			uids = append(i.Former, i.UID)
		}
		return nil
	}); err != nil || len(uids) != 2 || uids[0] == uids[1] {
		t.Errorf("instances %q, %v", uids, err)
	}
}

// TestRebuildSaysWhatIsLost: a spool file that somebody removed.
func TestRebuildSaysWhatIsLost(t *testing.T) {
	l := newLab(t)
	l.append("app.log", "1\n")
	if err := l.in.seal(t.Context(), l.in.collect(Now)); err != nil {
		t.Fatal(err)
	}
	if err := l.in.Close(); err != nil {
		t.Fatal(err)
	}
	l.open()
	if err := l.in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(l.c.StateDir, "spool", "tree", "app.log")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), l.c); !errors.Is(err, ErrState) || !strings.Contains(err.Error(), "rebuild the journal without it: 'sinkfs journal restore --from-target") {
		t.Errorf("opened without a spool file: %v", err)
	}
	r, err := Rebuild(t.Context(), l.c, RebuildOptions{})
	if err != nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], `2 bytes of "app.log" from 0 on`) {
		t.Errorf("%+v, %v", r, err)
	}
	l.open()
	l.publishes()
}

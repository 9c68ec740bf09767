package journal_test

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// written makes a closed journal of n marked counters.
func written(t *testing.T, dir, sink string, n int) {
	t.Helper()
	j, err := journal.Open(journal.Options{Dir: dir, MinFree: 1})
	must(t, err)
	for i := range n {
		must(t, j.Mark(journal.Counter{Sink: sink, Next: uint64(i)}))
	}
	must(t, j.Close())
}

// TestFilesThatDoNotBelongTogetherAreRefused: a journal whose database and
// anchor are not of one moment is never opened, and never opened empty.
func TestFilesThatDoNotBelongTogetherAreRefused(t *testing.T) {
	base, older, fork := t.TempDir(), filepath.Join(t.TempDir(), "j"), filepath.Join(t.TempDir(), "j")
	written(t, base, "/", 3)
	copyTree(t, base, older)
	copyTree(t, base, fork)
	written(t, base, "/a", 5)
	written(t, fork, "/b", 5)
	take := func(t *testing.T, dir, from, name string) {
		must(t, os.RemoveAll(filepath.Join(dir, name)))
		copyTree(t, filepath.Join(from, name), filepath.Join(dir, name))
	}
	cases := []struct {
		name string
		do   func(t *testing.T, dir string)
		want error
		says string
	}{
		{"older database", func(t *testing.T, dir string) { take(t, dir, older, "db") }, journal.ErrBehind, "was written"},
		{"database of a fork", func(t *testing.T, dir string) { take(t, dir, fork, "db") }, journal.ErrDamaged, "not the one"},
		{"older anchor", func(t *testing.T, dir string) { take(t, dir, older, "anchor") }, journal.ErrDamaged, "not in its chain"},
		{"no anchor", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "anchor"))) }, journal.ErrDamaged, "anchor"},
		{"no database", func(t *testing.T, dir string) { must(t, os.RemoveAll(filepath.Join(dir, "db"))) }, journal.ErrDamaged, "is gone"},
		{"neither", func(t *testing.T, dir string) {
			must(t, errors.Join(os.RemoveAll(filepath.Join(dir, "db")), os.Remove(filepath.Join(dir, "anchor"))))
		}, journal.ErrDamaged, "aside"},
		{"no MANIFEST", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "db", "MANIFEST"))) }, journal.ErrDamaged, "MANIFEST"},
		{"nothing at all", func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)) }, nil, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "j")
			copyTree(t, base, dir)
			c.do(t, dir)
			for range 2 {
				j, err := journal.Open(journal.Options{Dir: dir, MinFree: 1})
				if !errors.Is(err, c.want) {
					t.Fatalf("got %v, want %v", err, c.want)
				}
				if err == nil {
					must(t, j.Close())
				} else if !strings.Contains(err.Error(), c.says) {
					t.Errorf("error %q does not say %q", err, c.says)
				}
			}
		})
	}
}

func TestOneProcessHasTheJournal(t *testing.T) {
	dir := t.TempDir()
	cmd := child(t, "hold", dir)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "open\n" {
		t.Fatal(line, err)
	}
	if _, err := journal.Open(journal.Options{Dir: dir, MinFree: 1}); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("Open: got %v, want %v", err, journal.ErrLocked)
	}
	if _, err := journal.Verify(dir); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("Verify: got %v, want %v", err, journal.ErrLocked)
	}
	if err := journal.Restore(dir, strings.NewReader("")); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("Restore: got %v, want %v", err, journal.ErrLocked)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	_ = in.Close()
	j := open(t, dir)
	if _, err := journal.Open(journal.Options{Dir: dir, MinFree: 1}); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("Open twice: got %v, want %v", err, journal.ErrLocked)
	}
	must(t, j.Close())
	must(t, j.Close())
	if err := j.Write(); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("Write after Close: got %v, want %v", err, journal.ErrClosed)
	}
}

// TestFailedCommitBreaksTheJournal: what an error left behind is unknown, so
// nothing is acknowledged any more.
func TestFailedCommitBreaksTheJournal(t *testing.T) {
	dir := t.TempDir()
	j, err := journal.Open(journal.Options{Dir: dir, MinFree: 1})
	must(t, err)
	must(t, j.Mark(journal.Counter{Sink: "/", Next: 1}))
	inTheWay := filepath.Join(dir, "anchor.tmp")
	must(t, os.Mkdir(inTheWay, 0o700))
	if err := j.Mark(journal.Counter{Sink: "/", Next: 2}); !errors.Is(err, journal.ErrBroken) {
		t.Errorf("Mark without an anchor: got %v, want %v", err, journal.ErrBroken)
	}
	must(t, os.Remove(inTheWay))
	if err := j.Write(journal.Counter{Sink: "/", Next: 3}); !errors.Is(err, journal.ErrBroken) {
		t.Errorf("Write after that: got %v, want %v", err, journal.ErrBroken)
	}
	must(t, j.Close())
	j = open(t, dir)
	for _, r := range loadAll(t, j) {
		if c, ok := r.(journal.Counter); !ok || c.Next > 2 {
			t.Errorf("got %v, want a counter of 1 or 2", r)
		}
	}
}

func TestCopiesAsideAreFew(t *testing.T) {
	dir := t.TempDir()
	for range 6 {
		written(t, dir, "/", 2)
	}
	got, err := os.ReadDir(filepath.Join(dir, "aside"))
	must(t, err)
	if len(got) != 2 {
		t.Errorf("copies aside: got %v, want the last two", got)
	}
}

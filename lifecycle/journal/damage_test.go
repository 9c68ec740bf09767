package journal_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// outcome is how a damaged journal opens.
type outcome string

const (
	refused outcome = "refused" // damaged, behind or version; and so again the next time
	whole   outcome = "whole"   // nothing is missing: the damage does not matter
	last    outcome = "last"    // without the very last transaction, after the anchor
	untold  outcome = "untold"  // the same, and it was not acknowledged
)

// killedJournal is a journal with tables and write-ahead logs, as kill -9
// leaves it, what its writers stood at, and what they had been told.
func killedJournal(t *testing.T) (dir string, at *world, acked [writers]uint64) {
	t.Helper()
	dir = t.TempDir()
	w := startWriting(t, dir)
	w.reaches(t, w.now(), 24)
	w.kill()
	copied := filepath.Join(t.TempDir(), "j")
	copyTree(t, dir, copied)
	at, err := stateOf(t, copied)
	if err != nil {
		t.Fatal(err)
	}
	return dir, at, w.now()
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", "--sparse=always", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// stateOf opens the journal in another process: Badger ends the process on
// some errors.
func stateOf(t *testing.T, dir string) (*world, error) {
	t.Helper()
	out, err := child(t, "state", dir).Output()
	if err == nil {
		w := newWorld()
		if err := json.Unmarshal(out, w); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return w, nil
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if msg, ok := strings.CutPrefix(string(out), "error: "); ok {
		return nil, errors.New(strings.TrimSpace(msg))
	}
	return nil, fmt.Errorf("crash: %s\n%s", out, exit.Stderr)
}

// judge opens a damaged journal twice.
func judge(t *testing.T, dir string, want *world, acked [writers]uint64) (outcome, string) {
	t.Helper()
	got, err := stateOf(t, dir)
	if err != nil {
		if !isRefusal(err) {
			return "crash", err.Error()
		}
		if again, err2 := stateOf(t, dir); err2 == nil || !isRefusal(err2) {
			return "forgets", fmt.Sprintf("first %v, then %v %v", err, again, err2)
		}
		return refused, err.Error()
	}
	if got.Wrong != "" {
		return "inconsistent", got.Wrong
	}
	behind, told := uint64(0), false
	for w := range uint64(writers) {
		if got.number(w) > want.number(w) {
			return "invented", fmt.Sprint(got)
		}
		behind += want.number(w) - got.number(w)
		told = told || got.number(w) < acked[w]
	}
	missing := fmt.Sprintf("%d calls are missing, %v were acknowledged", behind, acked)
	switch {
	case behind == 0:
		return whole, ""
	case behind > writers: // a transaction holds at most one call of each writer
		return "silently older", missing
	case told:
		return last, missing
	}
	return untold, missing
}

func isRefusal(err error) bool {
	for _, kind := range []error{journal.ErrDamaged, journal.ErrBehind, journal.ErrVersion} {
		if strings.HasPrefix(err.Error(), kind.Error()) {
			return true
		}
	}
	return false
}

func journalFiles(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	for _, glob := range []string{"anchor", "open", "db/*"} {
		found, err := filepath.Glob(filepath.Join(dir, glob))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			rel, err := filepath.Rel(dir, f)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, rel)
		}
	}
	return files
}

type damage struct {
	name string
	do   func(path string) error
}

func damages() []damage {
	ds := []damage{
		{"delete", os.Remove},
		{"empty", func(p string) error { return os.Truncate(p, 0) }},
		{"half", func(p string) error { return cut(p, 0.5) }},
		{"one byte less", func(p string) error { return cut(p, 1) }},
	}
	for range 3 {
		ds = append(ds, damage{"flip", flip})
	}
	return ds
}

// TestDamageOfAnyFileIsNoticedOrHarmless is the table of what becomes of a
// journal whose files are damaged after a kill -9.
func TestDamageOfAnyFileIsNoticedOrHarmless(t *testing.T) {
	dir, at, acked := killedJournal(t)
	allowed := map[string][]outcome{ // else only whole and refused
		".mem flip":          {refused, whole, untold, last},
		".mem half":          {refused, whole, untold, last},
		".mem one byte less": {refused, whole, untold, last},
		".mem delete":        {refused, whole, untold}, // a log that the anchor had no time to name
		".mem empty":         {refused, whole, untold},
		"anchor delete":      {refused},
		"anchor flip":        {refused},
		"MANIFEST delete":    {refused},
	}
	for _, file := range journalFiles(t, dir) {
		for _, d := range damages() {
			copied := filepath.Join(t.TempDir(), "j")
			copyTree(t, dir, copied)
			if err := d.do(filepath.Join(copied, file)); errors.Is(err, errNothing) {
				continue
			} else if err != nil {
				t.Fatal(err)
			}
			got, why := judge(t, copied, at, acked)
			want, ok := allowed[cmp.Or(filepath.Ext(file), filepath.Base(file))+" "+d.name]
			if !ok {
				want = []outcome{refused, whole}
			}
			if !slices.Contains(want, got) {
				t.Errorf("%s, %s: got %q (%s), want one of %q", file, d.name, got, why, want)
			}
		}
	}
}

// TestDamageOfTheLogIsNoticedAfterTheAnchor: Badger drops what follows a bad
// byte in its log. What the anchor does not cover yet is still noticed.
func TestDamageOfTheLogIsNoticedAfterTheAnchor(t *testing.T) {
	cases := map[string]struct {
		do   func(path string, b []byte) error
		want error
	}{
		"bad byte": {func(path string, b []byte) error {
			b[bytes.Index(b, []byte("the fifth"))] ^= 1
			return os.WriteFile(path, b, 0o600)
		}, journal.ErrBehind},
		"cut short": {func(path string, b []byte) error {
			return os.Truncate(path, int64(bytes.Index(b, []byte("the fifth"))))
		}, journal.ErrDamaged},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if out, err := child(t, "after the anchor", dir).Output(); len(out) > 0 {
				t.Fatalf("%v: %s", err, out)
			}
			logs, err := filepath.Glob(filepath.Join(dir, "db", "*.mem"))
			if err != nil || len(logs) != 1 {
				t.Fatalf("logs: %v, %v", logs, err)
			}
			b, err := os.ReadFile(logs[0])
			must(t, err)
			must(t, c.do(logs[0], b))
			for range 2 { // Badger may have cut the log by the second time
				if _, err := journal.Open(journal.Options{Dir: dir, MinFree: 1}); !errors.Is(err, c.want) {
					t.Errorf("Open: got %v, want %v", err, c.want)
				}
			}
		})
	}
}

var errNothing = errors.New("nothing to damage")

func cut(path string, share float64) error {
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	if fi.Size() == 0 {
		return errNothing
	}
	if share == 1 {
		return os.Truncate(path, fi.Size()-1)
	}
	return os.Truncate(path, int64(float64(fi.Size())*share))
}

// flip changes one bit of a byte that is not in the empty tail.
func flip(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	end := len(b)
	for end > 0 && b[end-1] == 0 {
		end--
	}
	if end == 0 {
		return errNothing
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	i := rand.IntN(end)
	if _, err := f.WriteAt([]byte{b[i] ^ 1<<rand.IntN(8)}, int64(i)); err != nil {
		return err
	}
	return f.Close()
}

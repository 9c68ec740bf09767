package lifecycle

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sinkfs/sinkfs/backend/local"
)

// TestDirectoriesOfTheStore: an empty one goes with that of the spool, and a
// call that fails takes none away.
func TestDirectoriesOfTheStore(t *testing.T) {
	target := t.TempDir()
	store, err := local.Open(target, nil)
	if err != nil {
		t.Fatal(err)
	}
	in := killable(t, &Config{Store: store, Target: "dir", Sinks: []Sink{fileSink()}})
	t.Cleanup(func() { _ = in.Close() })
	for _, d := range []string{"d", "full"} {
		a, err := in.Mkdir(t.Context(), in.Root(), d, 0o755, Caller{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.Create(a.Ino, ".kept.tmp", 0o644, Caller{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(target, "d/x/y"), 0o755); err != nil {
		t.Fatal(err)
	}
	wantStored := func(name string, want bool) {
		t.Helper()
		if _, err := os.Lstat(filepath.Join(target, name)); (err == nil) != want {
			t.Errorf("%s is in the target: %v, want %v", name, err == nil, want)
		}
	}
	rename := func(to string, want error) {
		t.Helper()
		if err := in.Rename(t.Context(), in.Root(), "d", in.Root(), to, false); !errors.Is(err, want) {
			t.Errorf("rename to %s = %v, want %v", to, err, want)
		}
	}
	if err := in.Rmdir(t.Context(), in.Root(), "d"); !errors.Is(err, syscall.ENOTEMPTY) {
		t.Errorf("rmdir of a directory with a file = %v, want ENOTEMPTY", err)
	}
	rename("full", syscall.ENOTEMPTY)
	if _, err := in.Create(mustLookup(t, in, "d"), strings.Repeat("n", 200), 0o644, Caller{}); err != nil {
		t.Fatal(err)
	}
	deep := in.Root()
	for range 4 {
		a, err := in.Mkdir(t.Context(), deep, strings.Repeat("d", 220), 0o755, Caller{})
		if err != nil {
			t.Fatal(err)
		}
		deep = a.Ino
	}
	if err := in.Rename(t.Context(), in.Root(), "d", deep, "d", false); !errors.Is(err, ErrKeyTooLong) {
		t.Errorf("rename to where no key is short enough = %v, want %v", err, ErrKeyTooLong)
	}
	wantStored("d/x/y", true)
	if err := in.RmdirStored(t.Context(), "_sinkfs"); !errors.Is(err, ErrReserved) {
		t.Errorf("rmdir _sinkfs = %v, want %v", err, ErrReserved)
	}
	rename("e", nil)
	wantStored("d", false)
	if err := os.Mkdir(filepath.Join(target, "e"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".kept.tmp", strings.Repeat("n", 200)} {
		if err := in.Unlink(mustLookup(t, in, "e"), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.Rmdir(t.Context(), in.Root(), "e"); err != nil {
		t.Errorf("rmdir of an empty directory = %v", err)
	}
	wantStored("e", false)
}

func mustLookup(t *testing.T, in *Instance, name string) uint64 {
	t.Helper()
	a, err := in.Lookup(in.Root(), name)
	if err != nil {
		t.Fatal(err)
	}
	return a.Ino
}

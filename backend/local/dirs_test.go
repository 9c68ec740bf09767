package local_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/backend"
)

// TestRemoveDirIsCareful: neither a link nor what it leads to goes, nothing of
// others does, and no other disk's directory in place of the target's.
func TestRemoveDirIsCareful(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	s := open(t, dir)
	remove := func(k backend.Key, kind error) {
		t.Helper()
		wantKind(t, "RemoveDir("+string(k)+")", s.RemoveDir(t.Context(), k), kind)
	}
	for _, d := range []string{filepath.Join(outside, "empty"), filepath.Join(dir, "disk"), filepath.Join(dir, "hidden/.sinkfs"), filepath.Join(dir, "in")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"away": outside, "empty": filepath.Join(outside, "empty"), "near": "in", "here": "."} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range []backend.Key{"away", "away/empty", "empty", "near", "here/in"} {
		remove(k, backend.ErrNotExist)
	}
	remove("hidden", backend.ErrNotEmpty)
	mount(t, filepath.Join(dir, "disk"), "-t", "tmpfs", "tmpfs")
	remove("disk", unix.EBUSY)
	for _, p := range []string{filepath.Join(outside, "empty"), filepath.Join(dir, "in"), filepath.Join(dir, "near")} {
		if _, err := os.Lstat(p); err != nil {
			t.Error(err)
		}
	}
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	remove("in", backend.ErrTransient)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveDir(t.Context(), "in"); err != nil {
		t.Errorf("RemoveDir when the target is back = %v", err)
	}
}

// TestRemoveDirOfAReadOnlyTarget: what is not there is absent there too.
func TestRemoveDirOfAReadOnlyTarget(t *testing.T) {
	dir := t.TempDir()
	mount(t, dir, "-t", "tmpfs", "tmpfs")
	s := open(t, dir)
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "mount", "-o", "remount,ro", dir)
	wantKind(t, "RemoveDir", s.RemoveDir(t.Context(), "d"), backend.ErrPermission)
	wantKind(t, "RemoveDir of what is absent", s.RemoveDir(t.Context(), "no"), backend.ErrNotExist)
}

// TestRemoveDirRacesWithPut: no file is lost with a directory, and whoever
// publishes meanwhile is at most to try again.
func TestRemoveDirRacesWithPut(t *testing.T) {
	s := open(t, t.TempDir())
	for range 50 {
		var wg sync.WaitGroup
		stop := make(chan struct{})
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, k := range []backend.Key{"d/e", "d"} {
					err := s.RemoveDir(t.Context(), k)
					if err != nil && !errors.Is(err, backend.ErrNotExist) && !errors.Is(err, backend.ErrNotEmpty) {
						t.Errorf("RemoveDir(%q) = %v", k, err)
					}
				}
			}
		})
		_, err := s.Put(t.Context(), object("d/e/a", []byte("body")))
		for errors.Is(err, backend.ErrTransient) {
			_, err = s.Put(t.Context(), object("d/e/a", []byte("body")))
		}
		close(stop)
		wg.Wait()
		if err != nil {
			t.Fatalf("Put = %v", err)
		}
		if err := s.Delete(t.Context(), "d/e/a"); err != nil {
			t.Fatalf("the file is lost: %v", err)
		}
	}
}

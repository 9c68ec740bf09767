package local

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/backend"
)

// TestRemovedDirectoryIsForgotten: on a file system without a time of birth, a
// directory made anew with the inode number of a removed one is not taken for
// durable because that was.
func TestRemovedDirectoryIsForgotten(t *testing.T) {
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 16<<20); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]string{{"mkfs.ext4", "-q", "-I", "128", image}, {"mount", "-o", "loop,user_xattr", image, dir}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", c, err, out)
		}
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	s, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	put := func(k backend.Key) {
		t.Helper()
		_, err := s.Put(t.Context(), backend.Object{
			Key: k, Size: 1, Mode: 0o644, ModTime: time.Now(),
			Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader([]byte("x"))), nil },
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	ino := func() uint64 {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, "d"), &st); err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	put("d/a")
	before := ino()
	if err := s.Delete(t.Context(), "d/a"); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveDir(t.Context(), "d"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if ino() != before {
		t.Fatal("the inode number is another, nothing is tested")
	}
	f, err := os.Open(filepath.Join(dir, "d"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if clean, err := s.dirs.clean(f); clean || err != nil {
		t.Errorf("a directory that was never synced counts as durable: %v, %v", clean, err)
	}
	var known bool
	if err := s.dirs.change(f, func(st *dirState) { known = st.known }); known || err != nil {
		t.Errorf("its way is taken for durable: %v, %v", known, err)
	}
}

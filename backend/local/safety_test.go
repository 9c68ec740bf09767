package local_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/local"
	"github.com/sinkfs/sinkfs/internal/testfs"
)

// TestLinksAreNotFollowed: somebody who may write to the target must not get
// files of the mount's owner written or read elsewhere.
func TestLinksAreNotFollowed(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	s := open(t, dir)
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{
		"dir": outside, "file": filepath.Join(outside, "secret"), "dangling": filepath.Join(outside, "new"), "in": ".",
	} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, "ours", "body")
	for _, k := range []backend.Key{"dir/new", "in/new", "dir/d/new"} {
		_, err := s.Put(t.Context(), object(k, nil))
		wantKind(t, fmt.Sprintf("Put(%q)", k), err, backend.ErrPermission)
	}
	for _, k := range []backend.Key{"dir/secret", "in/ours"} {
		_, err := s.Stat(t.Context(), k)
		wantKind(t, fmt.Sprintf("Stat(%q)", k), err, backend.ErrNotExist)
		_, err = s.Open(t.Context(), k, 0, -1)
		wantKind(t, fmt.Sprintf("Open(%q)", k), err, backend.ErrNotExist)
	}
	for _, k := range []backend.Key{"dir", "file", "dangling", "in"} {
		_, err := s.Put(t.Context(), object(k, nil))
		wantKind(t, fmt.Sprintf("Put(%q)", k), err, backend.ErrExist)
		wantTaken(t, s, k)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
		t.Errorf("outside the target: %v, %v", entries, err)
	}
}

// wantTaken is for names of what is no file: they are foreign, and closed.
func wantTaken(t *testing.T, s *local.Store, k backend.Key) {
	t.Helper()
	info, err := s.Stat(t.Context(), k)
	if err != nil || info.Owned || info.Dir || info.Size != 0 || info.Mode != 0 {
		t.Errorf("Stat(%q) = %+v, %v, want a foreign object that nobody may read", k, info, err)
	}
	_, err = s.Open(t.Context(), k, 0, -1)
	wantKind(t, fmt.Sprintf("Open(%q)", k), err, backend.ErrPermission)
	wantKind(t, fmt.Sprintf("Delete(%q)", k), s.Delete(t.Context(), k), backend.ErrPermission)
}

func TestSpecialFilesDoNotBlock(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	wantTaken(t, s, "fifo")
	wantTaken(t, s, "null")
	_, err := s.Put(t.Context(), object("fifo", nil))
	wantKind(t, "Put on a fifo", err, backend.ErrExist)
}

// TestUnmountedTarget: the bare mountpoint of a disk is never filled in its
// place, and the store does not keep the disk from being unmounted.
func TestUnmountedTarget(t *testing.T) {
	dir := t.TempDir()
	mount(t, dir, "-t", "tmpfs", "tmpfs")
	s := open(t, dir)
	put(t, s, "d/a", "body")
	run(t, "umount", dir)

	_, err := s.Put(t.Context(), object("d/b", nil))
	wantKind(t, "Put", err, backend.ErrTransient)
	_, err = s.Stat(t.Context(), "d/a")
	wantKind(t, "Stat", err, backend.ErrTransient)
	err = s.List(t.Context(), "", "", nil)
	wantKind(t, "List", err, backend.ErrTransient)
	wantKind(t, "Check", s.Check(t.Context()), backend.ErrTransient)
	wantKind(t, "Delete", s.Delete(t.Context(), "d/a"), backend.ErrTransient)

	mount(t, dir, "-t", "tmpfs", "another")
	_, err = s.Put(t.Context(), object("d/b", nil))
	wantKind(t, "Put on another disk", err, backend.ErrTransient)
	run(t, "umount", dir)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("beneath the disk: %v, %v", entries, err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "Check without the directory", s.Check(t.Context()), backend.ErrTransient)
}

func TestTargetComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "target")
	s := open(t, dir)
	st, err := s.Stage(t.Context(), object("d/a", []byte("body")))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	_, err = st.Commit(t.Context())
	wantKind(t, "Commit", err, backend.ErrTransient)
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Commit(t.Context()); err != nil {
		t.Errorf("Commit when it is back = %v", err)
	}
	if info, err := s.Stat(t.Context(), "d/a"); err != nil || info.Size != 4 {
		t.Errorf("Stat = %+v, %v", info, err)
	}
}

func TestDiskMountedOverADirectory(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	st, err := s.Stage(t.Context(), object("d/a", []byte("body")))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	mount(t, filepath.Join(dir, "d"), "-t", "tmpfs", "tmpfs")
	_, err = st.Commit(t.Context())
	wantKind(t, "Commit onto another file system", err, backend.ErrGone)
	put(t, s, "d/a", "body")
}

func TestFullDisk(t *testing.T) {
	testfs.Each(t, func(t *testing.T, dir string) {
		s := open(t, dir)
		big := object("d/big", nil)
		big.Size = 1 << 30
		big.Open = func() (io.ReadCloser, error) { return io.NopCloser(zeros{}), nil }
		_, err := s.Put(t.Context(), big)
		wantKind(t, "Put of more than fits", err, backend.ErrTransient)
		if _, err := s.Stat(t.Context(), "d/big"); !errors.Is(err, backend.ErrNotExist) {
			t.Errorf("Stat = %v", err)
		}
		put(t, s, "d/small", "body") // the bytes of the other are free again
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestFinishedOnly lists while parts are published: whatever is seen is whole.
func TestFinishedOnly(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	body := string(make([]byte, 300_000))
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(done)
		for i := range 100 {
			put(t, s, backend.Key(fmt.Sprintf("d/%03d", i)), body)
		}
	})
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		paths, err := filepath.Glob(filepath.Join(dir, "d", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if st, err := os.Stat(path); err != nil || st.Size() != int64(len(body)) {
				t.Errorf("%s was seen with %v, %v", path, st, err)
			}
		}
	}
	wg.Wait()
}

func TestNoDescriptorIsLeft(t *testing.T) {
	s := open(t, t.TempDir())
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	work := func() {
		put(t, s, "d/a", "body")
		_, err := s.Put(t.Context(), object("d/a", nil))
		wantKind(t, "Put", err, backend.ErrExist)
		for range 2 {
			st, err := s.Stage(t.Context(), object("d/b", nil))
			if err != nil {
				t.Fatal(err)
			}
			_, err = st.Commit(t.Context())
			if errors.Is(err, backend.ErrExist) {
				err = st.Abort(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
		}
		for _, k := range []backend.Key{"d", "d/a", "d/no", "no/no"} {
			_, _ = s.Stat(t.Context(), k)
			_ = s.List(t.Context(), k, "", func(string, backend.Info) error { return io.EOF })
			if r, err := s.Open(t.Context(), k, 0, -1); err == nil {
				_ = r.Close()
			}
		}
		for _, k := range []backend.Key{"d/a", "d/b"} {
			if err := s.Delete(t.Context(), k); err != nil {
				t.Error(err)
			}
		}
	}
	work()
	before := count()
	for range 20 {
		work()
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors, then %d", before, after)
	}
}

func TestAttributesOnDisk(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	o := object("d/a", []byte("body"))
	o.Mode, o.UID, o.GID = 0, 1001, 1002
	info, err := s.Put(t.Context(), o)
	if err != nil || info.Mode != 0 {
		t.Fatalf("Put = %+v, %v", info, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "d/a"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode != unix.S_IFREG|0o400 || st.Uid != 1001 || st.Gid != 1002 || st.Mtim.Sec != o.ModTime.Unix() {
		t.Errorf("on disk: mode %o, owner %d:%d, mtime %d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec)
	}
	if info, err := s.Stat(t.Context(), "d/a"); err != nil || info.Mode != 0 || info.UID != 1001 || !info.ModTime.Equal(o.ModTime) {
		t.Errorf("Stat = %+v, %v, want what the writer had", info, err)
	}
}

// TestNotRoot: who may not chown keeps the writer's owner in the attribute,
// and never makes a set-id file of its own.
func TestNotRoot(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	o := object("d/a", []byte("body"))
	o.Mode, o.UID, o.GID = 0o4755, 1001, 1002
	asNobody(t, func() {
		if _, err := s.Put(t.Context(), o); err != nil {
			t.Errorf("Put = %v", err)
		}
		if info, err := s.Stat(t.Context(), "d/a"); err != nil || info.UID != 1001 || info.Mode != 0o4755 {
			t.Errorf("Stat = %+v, %v, want what the writer had", info, err)
		}
	})
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "d/a"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode != unix.S_IFREG|0o755 || st.Uid != 65534 {
		t.Errorf("on disk: mode %o, owner %d", st.Mode, st.Uid)
	}
}

// asNobody runs fn with the file system rights of nobody. They are a thread's
// own: it is never given back.
func asNobody(t *testing.T, fn func()) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		runtime.LockOSThread()
		if err := unix.Setfsgid(65534); err != nil {
			t.Error(err)
		}
		if err := unix.Setfsuid(65534); err != nil {
			t.Error(err)
		}
		fn()
	})
	wg.Wait()
}

package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/internal/testfs"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// open opens the spool in dir until the test ends or it is closed.
func open(t *testing.T, dir string) *spool.Tree {
	t.Helper()
	tree, err := spool.Open(dir, discard())
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Errorf("close: %v", err)
		}
	})
	return tree
}

// reopen is a restart.
func reopen(t *testing.T, tree *spool.Tree, dir string) *spool.Tree {
	t.Helper()
	if err := tree.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	return open(t, dir)
}

func create(t *testing.T, tree *spool.Tree, dir *spool.Node, name string, k spool.Kind) *spool.Node {
	t.Helper()
	n, err := tree.Create(dir, name, k, 0o644, 0, 0)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	return n
}

func mkdirAll(t *testing.T, tree *spool.Tree, path string) *spool.Node {
	t.Helper()
	n, err := tree.MkdirAll(path, 0o755, uint32(os.Geteuid()), uint32(os.Getegid()))
	if err != nil {
		t.Fatalf("mkdir: %v", err)
	}
	return n
}

// add appends s to the file.
func add(t *testing.T, n *spool.Node, s string) {
	t.Helper()
	f, err := n.Open(os.O_WRONLY | os.O_APPEND)
	if err != nil {
		t.Fatalf("open node: %v", err)
	}
	_, err = f.WriteString(s)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatalf("write: %v", err)
	}
}

func content(t *testing.T, n *spool.Node) string {
	t.Helper()
	f, err := n.Open(os.O_RDONLY)
	if err != nil {
		t.Fatalf("open node: %v", err)
	}
	defer func() { must(t, f.Close()) }()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return string(b)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
}

// line describes a node, for comparisons.
func line(t *testing.T, n *spool.Node) string {
	t.Helper()
	s := fmt.Sprintf("%s %q %v", n.Kind(), n.Path(), n.ID())
	if n.Kind() == spool.Dir {
		return s
	}
	size, err := n.Size()
	if err != nil {
		t.Fatalf("size: %v", err)
	}
	return s + fmt.Sprintf(" base=%d done=%d unlinked=%v size=%d", n.Base(), n.Done(), n.Unlinked(), size)
}

// lines describes the whole tree.
func lines(t *testing.T, tree *spool.Tree) map[uint64]string {
	t.Helper()
	m := map[uint64]string{}
	for _, n := range tree.All() {
		m[n.ID().Ino] = line(t, n)
	}
	return m
}

func TestRestartKeepsEverything(t *testing.T) {
	testfs.Each(t, func(t *testing.T, dir string) {
		t.Helper()
		dir = filepath.Join(dir, "spool")
		tree := open(t, dir)
		ino := tree.Ino()
		eu := mkdirAll(t, tree, "events/eu")
		app := create(t, tree, eu, "app.log", spool.Stream)
		add(t, app, "one\ntwo\n")
		must(t, app.SetBase(4))
		must(t, app.SetDone(3))
		gz := create(t, tree, tree.Root(), "a.gz", spool.File)
		add(t, gz, "gz")
		tmp := create(t, tree, eu, ".tmp", spool.Scratch)
		must(t, tmp.SetKind(spool.Stream))
		gone := create(t, tree, eu, "gone.log", spool.Stream)
		add(t, gone, "kept")
		must(t, gone.SetBase(2))
		must(t, tree.Unlink(gone))
		// As long as a path in the spool may be, and then some for the file beside.
		long := strings.TrimSuffix(strings.Repeat(strings.Repeat("d", 99)+"/", 38), "/")
		far := create(t, tree, mkdirAll(t, tree, long), strings.Repeat("f", 150), spool.Stream)
		add(t, far, "far")
		must(t, tree.Unlink(far))
		must(t, tree.Unlink(far)) // twice is once
		again := create(t, tree, eu, "gone.log", spool.File)

		want := lines(t, tree)
		tree = reopen(t, tree, dir)
		if diff := cmp.Diff(want, lines(t, tree)); diff != "" {
			t.Errorf("restart changed the tree (-before +after):\n%s", diff)
		}
		if tree.Ino() != ino {
			t.Errorf("root inode %d after restart, want %d", tree.Ino(), ino)
		}
		eu = tree.Lookup(tree.Lookup(tree.Root(), "events"), "eu")
		if got := tree.Lookup(eu, "gone.log"); got == nil || got.ID() != again.ID() {
			t.Errorf("lookup of the new gone.log: %v", got)
		}
		if got := tree.Node(gone.ID().Ino); got == nil || content(t, got) != "kept" || got.Dir() != nil || got.Name() != "gone.log" {
			t.Errorf("unlinked file after restart: %v", got)
		}
		if got := tree.Node(far.ID().Ino); got == nil || got.Path() != long+"/"+strings.Repeat("f", 150) {
			t.Errorf("path of %d bytes lost over a restart", len(long))
		}
		must(t, tree.Remove(tree.Node(far.ID().Ino)))
		left, err := os.ReadDir(filepath.Join(dir, "unlinked"))
		if err != nil || len(left) != 1 {
			t.Errorf("files without a name: %v, %v; want the one that was not removed", left, err)
		}
	})
}

// TestAttributesStaySmall: with the security module's they have to fit into
// one block of 1 KiB.
func TestAttributesStaySmall(t *testing.T) {
	dir := testfs.New(t, testfs.Ext4k1, 16)
	tree := open(t, dir)
	for _, length := range []int{1, 300, 372, 373, 374, 1000} {
		name := strings.Repeat("n", min(length, 200))
		path := strings.Repeat("d", min(max(length-201, 1), 200))
		for len(path)+1+len(name) < length {
			path += "/" + strings.Repeat("e", min(200, length-len(path)-len(name)-2)) // may fall one short
			if length-len(path)-len(name)-1 == 1 {
				name += "m"
			}
		}
		n := create(t, tree, mkdirAll(t, tree, path), name, spool.Stream)
		must(t, n.SetBase(1<<62))
		must(t, n.SetDone(1<<62))
		want := n.Path()
		must(t, tree.Unlink(n))
		f, err := n.Open(os.O_RDONLY)
		must(t, err)
		buf := make([]byte, 4096)
		size, err := unix.Fgetxattr(int(f.Fd()), "user.sinkfs.source", buf)
		must(t, err)
		must(t, f.Close())
		if size > 400 {
			t.Errorf("attribute of a path of %d bytes has %d bytes, want ≤ 400", len(want), size)
		}
		tree = reopen(t, tree, dir)
		if got := tree.Node(n.ID().Ino); got.Path() != want || got.Base() != 1<<62 || got.Done() != 1<<62 {
			t.Errorf("path of %d bytes, base or done lost: %q %d %d", len(want), got.Path(), got.Base(), got.Done())
		}
	}
}

func TestOpenRefusesWhatIsNotOurs(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(tree string) error
		want string
	}{
		{"symlink", func(d string) error { return os.Symlink("/etc", filepath.Join(d, "bad")) }, "symbolic link"},
		{"fifo", func(d string) error { return unix.Mkfifo(filepath.Join(d, "bad"), 0o600) }, "named pipe"},
		{"socket", func(d string) error { return unix.Mknod(filepath.Join(d, "bad"), unix.S_IFSOCK|0o600, 0) }, "socket"},
		{"device", func(d string) error { return unix.Mknod(filepath.Join(d, "bad"), unix.S_IFCHR|0o600, 0x103) }, "device"},
		{"hard link", func(d string) error { return os.Link(filepath.Join(d, "a.log"), filepath.Join(d, "bad")) }, "hard link"},
		{"garbage attribute", func(d string) error {
			return unix.Setxattr(filepath.Join(d, "a.log"), "user.sinkfs.source", []byte("x"), 0)
		}, "user.sinkfs.source"},
		{"newer attribute", func(d string) error {
			return unix.Setxattr(filepath.Join(d, "a.log"), "user.sinkfs.source", bytes.Repeat([]byte{9}, 30), 0)
		}, "version 9"},
		{"no path beside", func(d string) error {
			b := make([]byte, 27)
			b[0], b[1], b[2] = 1, 1, 2
			return errors.Join(unix.Setxattr(filepath.Join(d, "a.log"), "user.sinkfs.source", b, 0),
				os.Rename(filepath.Join(d, "a.log"), filepath.Join(d, "../unlinked/7-7")))
		}, "7-7.path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			tree := open(t, dir)
			add(t, create(t, tree, tree.Root(), "a.log", spool.Stream), "a")
			must(t, tree.Close())
			must(t, c.make(filepath.Join(dir, "tree")))
			tree, err := spool.Open(dir, discard())
			if err == nil {
				must(t, tree.Close())
			}
			wantErr(t, err, spool.ErrDamaged)
			if err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not name %q", err, c.want)
			}
		})
	}
}

func TestOpenRefusesForeignDirectories(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chown(dir, 65534, 65534))
	_, err := spool.Open(dir, discard())
	wantErr(t, err, unix.EPERM)
	must(t, os.Chown(dir, 0, 0))
	must(t, os.Chmod(dir, 0o777))
	_, err = spool.Open(dir, discard())
	wantErr(t, err, unix.EPERM)
	must(t, os.Chmod(dir, 0o755))
	open(t, dir)
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("mode of the spool's directory: %v, %v; want 0700", st.Mode(), err)
	}
}

// TestOpenRefusesWithoutAttributes: ramfs has none.
func TestOpenRefusesWithoutAttributes(t *testing.T) {
	dir := t.TempDir()
	must(t, unix.Mount("ramfs", dir, "ramfs", 0, "mode=0700"))
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	_, err := spool.Open(dir, discard())
	wantErr(t, err, spool.ErrUnsupported)
	if err != nil && !strings.Contains(err.Error(), "spool_dir") {
		t.Errorf("error %q says not what to do", err)
	}
}

// TestUndescribedFiles: a crash between creation and description leaves an
// empty file; what has bytes is never thrown away.
func TestUndescribedFiles(t *testing.T) {
	dir := t.TempDir()
	tree := open(t, dir)
	must(t, tree.Close())
	must(t, os.WriteFile(filepath.Join(dir, "tree", "empty.log"), nil, 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "tree", "full.log"), []byte("bytes"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "unlinked", "77-7"), []byte("more"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "unlinked", "1-1.path"), []byte("left/over"), 0o644))
	tree = open(t, dir)
	if n := tree.Lookup(tree.Root(), "empty.log"); n != nil {
		t.Errorf("an empty undescribed file became a source")
	}
	n := tree.Lookup(tree.Root(), "full.log")
	if n == nil || !n.Adopted() || n.Kind() != spool.Stream || n.Done() != 0 || content(t, n) != "bytes" {
		t.Errorf("undescribed file with bytes: %v", n)
	}
	var kept *spool.Node
	for _, n := range tree.All() {
		if n.Unlinked() {
			kept = n
		}
	}
	if kept == nil || kept.Path() != "77-7" || content(t, kept) != "more" {
		t.Errorf("undescribed file without a name: %v", kept)
	}
	if _, err := os.Stat(filepath.Join(dir, "unlinked", "1-1.path")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left-over path file: %v, want none", err)
	}
	tree = reopen(t, tree, dir)
	if n := tree.Lookup(tree.Root(), "full.log"); n == nil || n.Adopted() {
		t.Errorf("adopted file is not described after the next restart")
	}
}

// TestFullDisk: a full spool still opens, or nothing could be published to
// make room.
func TestFullDisk(t *testing.T) {
	for _, k := range []testfs.Kind{testfs.Ext4, testfs.Tmpfs} {
		t.Run(string(k), func(t *testing.T) {
			dir := testfs.New(t, k, 16)
			tree := open(t, dir)
			n := create(t, tree, tree.Root(), "a.log", spool.Stream)
			f, err := n.Open(os.O_WRONLY | os.O_APPEND)
			must(t, err)
			for err == nil {
				_, err = f.Write(make([]byte, 4096))
			}
			must(t, f.Close())
			wantErr(t, err, unix.ENOSPC)
			free, total, err := tree.Free()
			if err != nil || free > 1<<20 || total < 8<<20 {
				t.Errorf("free space of a full disk: %d of %d, %v", free, total, err)
			}
			tree = reopen(t, tree, dir)
			size, err := tree.Lookup(tree.Root(), "a.log").Size()
			must(t, err)
			must(t, tree.Lookup(tree.Root(), "a.log").Punch(0, size))
			if free, _, err = tree.Free(); err != nil || free < 4<<20 {
				t.Errorf("free space after punching: %d, %v", free, err)
			}
		})
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

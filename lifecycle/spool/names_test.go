package spool_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/internal/testfs"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

func TestNames(t *testing.T) {
	testfs.Each(t, func(t *testing.T, dir string) {
		t.Helper()
		tree := open(t, dir)
		root := tree.Root()
		a := mkdirAll(t, tree, "a")
		ab := mkdirAll(t, tree, "a/b")
		if tree.Lookup(root, "a") != a || tree.Lookup(a, "b") != ab || mkdirAll(t, tree, "a/b") != ab || mkdirAll(t, tree, "") != root {
			t.Errorf("directories are made twice")
		}
		f := create(t, tree, ab, "f", spool.Stream)
		if f.Dir() != ab || f.Path() != "a/b/f" || f.Name() != "f" || root.Path() != "" || root.Name() != "" || root.Dir() != nil {
			t.Errorf("place of a node: %q %q in %q; root %q", f.Path(), f.Name(), f.Dir().Path(), root.Path())
		}

		for _, name := range []string{"", ".", "..", "x/y", "x\x00"} {
			_, err := tree.Create(a, name, spool.Stream, 0o644, 0, 0)
			wantErr(t, err, unix.EINVAL)
			_, err = tree.Mkdir(a, name, 0o755, 0, 0)
			wantErr(t, err, unix.EINVAL)
			wantErr(t, tree.Rename(f, a, name), unix.EINVAL)
		}
		_, err := tree.Create(a, strings.Repeat("n", 256), spool.Stream, 0o644, 0, 0)
		wantErr(t, err, unix.ENAMETOOLONG)
		_, err = tree.Create(a, "d", spool.Dir, 0o644, 0, 0)
		wantErr(t, err, unix.EINVAL)
		_, err = tree.Create(ab, "f", spool.File, 0o644, 0, 0)
		wantErr(t, err, unix.EEXIST)
		_, err = tree.Mkdir(ab, "f", 0o644, 0, 0)
		wantErr(t, err, unix.EEXIST)
		_, err = tree.Create(f, "x", spool.File, 0o644, 0, 0)
		wantErr(t, err, unix.ENOTDIR)
		_, err = tree.MkdirAll("a/b/f/x", 0o755, uint32(os.Geteuid()), uint32(os.Getegid()))
		wantErr(t, err, unix.ENOTDIR)

		g := create(t, tree, a, "g", spool.Stream)
		wantErr(t, tree.Rename(f, a, "g"), unix.EEXIST)
		wantErr(t, tree.Rename(a, ab, "x"), unix.EINVAL)
		wantErr(t, tree.Rename(root, ab, "x"), unix.EBUSY)
		wantErr(t, tree.Rename(f, g, "x"), unix.ENOTDIR)
		must(t, tree.Rename(f, ab, "f")) // to itself
		must(t, tree.Rename(ab, root, "B"))
		if f.Path() != "B/f" || tree.Lookup(a, "b") != nil || tree.Lookup(ab, "f") != f {
			t.Errorf("after rename of its directory: %q", f.Path())
		}
		add(t, f, "x")

		wantErr(t, tree.Rmdir(ab), unix.ENOTEMPTY)
		wantErr(t, tree.Rmdir(f), unix.ENOTDIR)
		wantErr(t, tree.Rmdir(root), unix.EBUSY)
		wantErr(t, tree.Unlink(ab), unix.EISDIR)
		wantErr(t, tree.Remove(ab), unix.EISDIR)
		must(t, tree.Unlink(f))
		must(t, tree.Rmdir(ab))
		wantErr(t, tree.Rmdir(ab), unix.ENOENT)
		_, err = tree.Create(ab, "late", spool.Stream, 0o644, 0, 0)
		wantErr(t, err, unix.ESTALE)
		wantErr(t, tree.Rename(f, a, "f"), unix.ENOENT)
		if f.Path() != "B/f" || !f.Unlinked() || tree.Node(f.ID().Ino) != f {
			t.Errorf("unlinked node in a removed directory: %q", f.Path())
		}

		must(t, tree.Remove(f))
		must(t, tree.Remove(f))
		must(t, tree.Unlink(f))
		if f.Path() != "B/f" || f.Unlinked() || f.Dir() != nil || tree.Node(f.ID().Ino) != nil {
			t.Errorf("removed node: %q", f.Path())
		}
		_, err = f.Size()
		wantErr(t, err, unix.ESTALE)
		_, err = f.Open(os.O_RDONLY)
		wantErr(t, err, unix.ESTALE)
		if got := tree.Children(root); len(got) != 1 || got[0] != a {
			t.Errorf("children of the root: %v", got)
		}
	})
}

// TestPathsThatGetTooLong: a directory with deep contents cannot be moved to
// where their paths could not be opened any more.
func TestPathsThatGetTooLong(t *testing.T) {
	tree := open(t, t.TempDir())
	deep := strings.TrimSuffix(strings.Repeat(strings.Repeat("d", 99)+"/", 30), "/")
	f := create(t, tree, mkdirAll(t, tree, deep), "f", spool.Stream)
	top := tree.Children(tree.Root())[0]
	to := mkdirAll(t, tree, strings.TrimSuffix(strings.Repeat(strings.Repeat("e", 99)+"/", 20), "/"))
	wantErr(t, tree.Rename(top, to, "d"), unix.ENAMETOOLONG)
	_, err := f.Size()
	must(t, err)
	_, err = tree.MkdirAll(deep+"/"+deep, 0o755, uint32(os.Geteuid()), uint32(os.Getegid()))
	wantErr(t, err, unix.ENAMETOOLONG)
}

func TestOwnerAndMode(t *testing.T) {
	testfs.Each(t, func(t *testing.T, dir string) {
		t.Helper()
		tree := open(t, dir)
		stat := func(n *spool.Node) spool.Stat {
			t.Helper()
			s, err := n.Stat()
			must(t, err)
			return s
		}
		f, err := tree.Create(tree.Root(), "f", spool.Stream, 0o6466, 7, 8)
		must(t, err)
		if s := stat(f); s.Mode != unix.S_IFREG|0o6466 || s.UID != 7 || s.GID != 8 || s.Nlink != 1 {
			t.Errorf("new file: %o %d:%d, %d links", s.Mode, s.UID, s.GID, s.Nlink)
		}
		d, err := tree.Mkdir(tree.Root(), "d", 0o2770, 7, 8)
		must(t, err)
		if s := stat(d); s.Mode != unix.S_IFDIR|0o2770 || s.UID != 7 || s.GID != 8 {
			t.Errorf("new directory: %o %d:%d", s.Mode, s.UID, s.GID)
		}
		f2, err := tree.Create(d, "f", spool.File, 0o600, 9, 9)
		must(t, err)
		d2, err := tree.Mkdir(d, "d", 0o700, 9, 9)
		must(t, err)
		if s := stat(f2); s.UID != 9 || s.GID != 8 || s.Mode != unix.S_IFREG|0o600 {
			t.Errorf("file in a setgid directory: %o %d:%d", s.Mode, s.UID, s.GID)
		}
		if s := stat(d2); s.UID != 9 || s.GID != 8 || s.Mode != unix.S_IFDIR|0o2700 {
			t.Errorf("directory in a setgid directory: %o %d:%d", s.Mode, s.UID, s.GID)
		}
		mode, uid := uint32(0o1755), uint32(5)
		must(t, tree.SetAttr(tree.Root(), &mode, &uid, nil, nil, nil))
		tree = reopen(t, tree, dir)
		if s := stat(tree.Root()); s.Mode != unix.S_IFDIR|0o1755 || s.UID != 5 || s.GID != 0 {
			t.Errorf("root after restart: %o %d:%d", s.Mode, s.UID, s.GID)
		}
	})
}

// TestUmask: the daemon's umask is not the program's.
func TestUmask(t *testing.T) {
	old := unix.Umask(0o777)
	defer unix.Umask(old)
	dir := testfs.New(t, testfs.Tmpfs, 16)
	unix.Umask(0o077)
	tree := open(t, dir)
	f, err := tree.Create(tree.Root(), "f", spool.Stream, 0o664, 0, 0)
	must(t, err)
	d, err := tree.Mkdir(tree.Root(), "d", 0o775, 0, 0)
	must(t, err)
	for n, want := range map[*spool.Node]uint32{f: 0o664, d: 0o775} {
		if s, err := n.Stat(); err != nil || s.Mode&0o7777 != want {
			t.Errorf("mode of %q: %o, %v; want %o", n.Path(), s.Mode, err, want)
		}
	}
}

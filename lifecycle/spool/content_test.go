package spool_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/internal/testfs"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

func TestOpenFlags(t *testing.T) {
	tree := open(t, t.TempDir())
	n := create(t, tree, tree.Root(), "f", spool.Stream)
	add(t, n, "abc")
	for _, flags := range []int{os.O_CREATE, os.O_TRUNC, os.O_EXCL, unix.O_TMPFILE} {
		_, err := n.Open(os.O_RDWR | flags)
		wantErr(t, err, unix.EINVAL)
	}
	f, err := n.Open(os.O_RDWR | 0x20 | 1<<40) // as open(2): what is unknown is ignored
	must(t, err)
	must(t, f.Close())
	if got := content(t, n); got != "abc" {
		t.Errorf("content %q, want abc", got)
	}
}

func TestTruncate(t *testing.T) {
	tree := open(t, t.TempDir())
	for k, want := range map[spool.Kind]error{spool.Stream: unix.EPERM, spool.File: nil, spool.Scratch: nil} {
		n := create(t, tree, tree.Root(), k.String(), k)
		add(t, n, "abc")
		wantErr(t, n.Truncate(1), want)
		if size, err := n.Size(); err != nil || (size == 3) != (want != nil) {
			t.Errorf("%v: size %d, %v", k, size, err)
		}
	}
	wantErr(t, tree.Root().Truncate(0), unix.EISDIR)
}

func TestPunch(t *testing.T) {
	testfs.Each(t, func(t *testing.T, dir string) {
		t.Helper()
		tree := open(t, dir)
		n := create(t, tree, tree.Root(), "f", spool.Stream)
		const size, hole = 4 << 20, 3 << 20
		add(t, n, strings.Repeat("x", size))
		must(t, n.Sync())
		stamp := time.Unix(1_000_000_000, 123_456_789)
		must(t, tree.SetAttr(n, nil, nil, nil, &stamp, &stamp))
		before, err := n.Stat()
		must(t, err)
		must(t, n.Punch(0, hole))
		must(t, n.Punch(hole, hole))
		must(t, n.Sync())
		after, err := n.Stat()
		must(t, err)
		if after.Size != size || !after.Mtime.Equal(stamp) || !after.Atime.Equal(stamp) {
			t.Errorf("after punching: size %d, mtime %v, atime %v", after.Size, after.Mtime, after.Atime)
		}
		// btrfs accounts late; it gives the space back all the same.
		if freed := (before.Blocks - after.Blocks) * 512; freed < hole-1<<20 {
			t.Errorf("punching %d bytes freed %d", hole, freed)
		}
		if got := content(t, n); got[hole-1] != 0 || got[hole:] != strings.Repeat("x", size-hole) {
			t.Errorf("punching changed what was to stay")
		}
		wantErr(t, n.Punch(-1, 5), unix.EINVAL)
		wantErr(t, n.Punch(5, 1), unix.EINVAL)
	})
}

func TestSetAttr(t *testing.T) {
	tree := open(t, t.TempDir())
	n := create(t, tree, tree.Root(), "f", spool.Stream)
	before, err := n.Stat()
	must(t, err)
	mtime := time.Unix(123, 456)
	must(t, tree.SetAttr(n, nil, nil, nil, nil, &mtime))
	s, err := n.Stat()
	must(t, err)
	if !s.Mtime.Equal(mtime) || !s.Atime.Equal(before.Atime) {
		t.Errorf("times %v %v, want %v %v", s.Atime, s.Mtime, before.Atime, mtime)
	}
	mode, uid, gid := uint32(0o4711), uint32(3), uint32(4)
	must(t, tree.SetAttr(n, &mode, &uid, &gid, nil, nil))
	s, err = n.Stat()
	must(t, err)
	if s.Mode != unix.S_IFREG|0o4711 || s.UID != 3 || s.GID != 4 || !s.Mtime.Equal(mtime) {
		t.Errorf("after chmod and chown: %o %d:%d %v", s.Mode, s.UID, s.GID, s.Mtime)
	}
	must(t, tree.SetAttr(n, nil, nil, &uid, nil, nil))
	if s, err = n.Stat(); err != nil || s.UID != 3 || s.GID != 3 {
		t.Errorf("after chgrp: %d:%d, %v", s.UID, s.GID, err)
	}
}

// TestNoLinkIsFollowed: whoever gets a link into the spool, or a file into the
// place of another, reaches nothing.
func TestNoLinkIsFollowed(t *testing.T) {
	dir := t.TempDir()
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "f"), []byte("secret"), 0o600))
	tree := open(t, dir)
	d := mkdirAll(t, tree, "d")
	f := create(t, tree, d, "f", spool.File)
	g := create(t, tree, d, "g", spool.File)
	must(t, os.Rename(filepath.Join(dir, "tree/d/g"), filepath.Join(outside, "g")))
	must(t, os.Symlink(filepath.Join(outside, "f"), filepath.Join(dir, "tree/d/g")))
	_, err := g.Open(os.O_RDWR)
	wantErr(t, err, unix.ELOOP)
	_, err = g.Size()
	wantErr(t, err, spool.ErrDamaged)
	must(t, os.Rename(filepath.Join(dir, "tree/d"), filepath.Join(dir, "tree/e")))
	must(t, os.Symlink(outside, filepath.Join(dir, "tree/d")))
	mode := uint32(0o666)
	for what, err := range map[string]error{
		"truncate": f.Truncate(0), "chmod": tree.SetAttr(f, &mode, nil, nil, nil, nil), "base": f.SetBase(1),
		"unlink": tree.Unlink(f), "remove": tree.Remove(f), "punch": f.Punch(0, 1), "sync": f.Sync(),
		"rename": tree.Rename(f, tree.Root(), "f"),
	} {
		if !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s through a link: %v, want ELOOP", what, err)
		}
	}
	if _, err := f.Size(); !errors.Is(err, spool.ErrDamaged) {
		t.Errorf("size through a link: %v, want ErrDamaged", err)
	}
	if b, err := os.ReadFile(filepath.Join(outside, "f")); err != nil || string(b) != "secret" {
		t.Errorf("file outside: %q, %v", b, err)
	}
}

func TestGenerationsTellReusedInodes(t *testing.T) {
	testfs.Each(t, func(t *testing.T, dir string) {
		t.Helper()
		tree := open(t, dir)
		seen := map[spool.ID]bool{}
		for range 20 { // ext4 gives the number out again at once
			n := create(t, tree, tree.Root(), "f", spool.Stream)
			if seen[n.ID()] {
				t.Fatalf("id %v twice", n.ID())
			}
			seen[n.ID()] = true
			must(t, tree.Remove(n))
		}
	})
}

func TestClosed(t *testing.T) {
	tree := open(t, t.TempDir())
	n := create(t, tree, tree.Root(), "f", spool.Stream)
	f, err := n.Open(os.O_RDWR)
	must(t, err)
	must(t, tree.Close())
	_, err = f.WriteString("still good")
	must(t, errors.Join(err, f.Close()))
	_, err = n.Size()
	wantErr(t, err, unix.EBADF)
	_, err = tree.Create(tree.Root(), "g", spool.Stream, 0o644, 0, 0)
	wantErr(t, err, unix.EBADF)
	wantErr(t, tree.SyncAll(), unix.EBADF)
}

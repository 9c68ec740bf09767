package spool_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// TestUnprivileged: a daemon that is not root keeps access to what its user
// makes unreadable, and programs see the mode that they set.
func TestUnprivileged(t *testing.T) {
	const nobody = 65534
	dir := t.TempDir()
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	must(t, os.Chown(dir, nobody, nobody))
	asUser(t, nobody, func() {
		tree := open(t, dir)
		mode := func(n *spool.Node, want uint32) {
			t.Helper()
			s, err := n.Stat()
			must(t, err)
			if s.Mode&0o7777 != want || s.UID != nobody {
				t.Errorf("%q: mode %o of %d, want %o", n.Path(), s.Mode, s.UID, want)
			}
		}
		d, err := tree.Mkdir(tree.Root(), "d", 0o500, nobody, nobody)
		must(t, err)
		f, err := tree.Create(d, "f", spool.Stream, 0o444, nobody, nobody)
		must(t, err)
		mode(d, 0o500)
		mode(f, 0o444)
		add(t, f, "x")
		must(t, f.SetBase(1))
		none := uint32(0)
		must(t, tree.SetAttr(f, &none, nil, nil, nil, nil))
		must(t, tree.SetAttr(d, &none, nil, nil, nil, nil))
		tree = reopen(t, tree, dir)
		d = tree.Lookup(tree.Root(), "d")
		f = tree.Lookup(d, "f")
		mode(d, 0)
		mode(f, 0)
		must(t, f.Sync())
		must(t, f.Punch(0, 1))
		must(t, f.Idle())
		must(t, tree.Unlink(f))
		must(t, tree.Remove(f))
		rwx := uint32(0o755)
		must(t, tree.SetAttr(d, &rwx, nil, nil, nil, nil))
		mode(d, 0o755)
		must(t, tree.Rmdir(d))
		p, err := tree.MkdirAll("p/q", 0o755, 7, 7)
		must(t, err)
		mode(p, 0o755)
		must(t, tree.Close())
	})
}

// asUser runs fn on a thread of its own that is that user's and ends with it.
func asUser(t *testing.T, uid int, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread must not be used again
		for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			id := uintptr(uid)
			if _, _, errno := unix.RawSyscall(call, id, id, id); errno != 0 {
				t.Errorf("become uid %d: %v", uid, errno)
				return
			}
		}
		fn()
	}()
	<-done
}

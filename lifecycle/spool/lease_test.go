package spool_test

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/internal/testfs"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// TestIdle: whoever can still write keeps a file from being idle and from being
// removed, whether it is a descriptor here, one of another process, or a
// mapping without any.
func TestIdle(t *testing.T) {
	testfs.Each(t, func(t *testing.T, dir string) {
		t.Helper()
		tree := open(t, dir)
		n := create(t, tree, tree.Root(), "f", spool.Stream)
		add(t, n, "some bytes")
		busy := func(who string) {
			t.Helper()
			if err := n.Idle(); err == nil {
				t.Errorf("%s: idle", who)
			} else {
				wantErr(t, err, spool.ErrBusy)
				wantErr(t, err, unix.EBUSY)
			}
			wantErr(t, tree.Remove(n), spool.ErrBusy)
		}
		must(t, n.Idle())
		for _, flags := range []int{os.O_WRONLY | os.O_APPEND, os.O_RDWR} {
			f, err := n.Open(flags)
			must(t, err)
			busy("descriptor")
			must(t, f.Close())
			must(t, n.Idle())
		}

		f, err := n.Open(os.O_WRONLY)
		must(t, err)
		cat := exec.CommandContext(t.Context(), "cat")
		cat.Stdout = f
		in, err := cat.StdinPipe()
		must(t, err)
		must(t, cat.Start())
		must(t, f.Close())
		busy("other process")
		must(t, in.Close())
		must(t, cat.Wait())
		must(t, n.Idle())

		f, err = n.Open(os.O_RDWR)
		must(t, err)
		mem, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		must(t, err)
		must(t, f.Close())
		if onOverlay(t, dir) { // the one gap, which Open warns of
			must(t, n.Idle())
		} else {
			busy("writable mapping")
		}
		must(t, unix.Munmap(mem))
		must(t, n.Idle())

		// A reader is no writer; and nobody waits for a lease that is gone.
		f, err = n.Open(os.O_RDONLY)
		must(t, err)
		must(t, n.Idle())
		must(t, tree.Unlink(n))
		must(t, n.Idle())
		w, err := n.Open(os.O_WRONLY | unix.O_NONBLOCK)
		must(t, err)
		busy("descriptor of an unlinked file")
		must(t, w.Close())
		must(t, tree.Remove(n))
		must(t, f.Close())
		wantErr(t, tree.Root().Idle(), unix.EISDIR)
	})
}

func onOverlay(t *testing.T, dir string) bool {
	t.Helper()
	var st unix.Statfs_t
	must(t, unix.Statfs(dir, &st))
	return st.Type == unix.OVERLAYFS_SUPER_MAGIC
}

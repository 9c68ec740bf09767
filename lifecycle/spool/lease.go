package spool

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Idle reports whether nobody can write to the file: nil, or ErrBusy when a
// descriptor open for writing or a writable mapping lives anywhere, be it one
// that only the kernel knows or this process's own. Somebody may come the
// moment after: who must not, is the caller's to keep out. On overlayfs a
// mapping whose descriptors are all closed is not seen: the kernel counts it on
// the file beneath.
func (n *Node) Idle() error {
	if n.isDir() {
		return n.fail("lease", unix.EISDIR)
	}
	n.op.Lock()
	defer n.op.Unlock()
	// A lease is dropped at once: a writer's open would wait for it, up to
	// fs.lease-break-time (45 s).
	return n.fail("lease", n.with(unix.O_RDONLY|unix.O_NONBLOCK, func(fd int) error {
		if err := lease(fd); err != nil {
			return err
		}
		_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
		return err
	}))
}

// lease takes a read lease, which the kernel grants only when nobody has the
// file open for writing.
func lease(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	if errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("%w: %w", ErrBusy, unix.EBUSY)
	}
	if err != nil {
		return fmt.Errorf("take a lease: %w", err)
	}
	return nil
}

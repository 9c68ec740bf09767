package spool

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// openBeneath opens rel below the spool's directory. No link is followed in
// any component, so nothing that a program could have put into the tree leads
// out of it.
func (t *Tree) openBeneath(rel string, flags int, mode uint32) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_LARGEFILE),
		Mode:    uint64(mode),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	}
	for {
		fd, err := unix.Openat2(t.fd(), rel, &how)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return fd, err
	}
}

// open returns a descriptor of n, checked to be n.
func (n *Node) open(flags int) (int, error) {
	n.t.names.RLock()
	defer n.t.names.RUnlock()
	return n.openLocked(flags)
}

// openLocked is open under t.names.
func (n *Node) openLocked(flags int) (int, error) {
	rel, err := n.rel()
	if err != nil {
		return -1, err
	}
	fd, err := n.t.openBeneath(rel, flags, 0)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	if st.Ino != n.id.Ino {
		_ = unix.Close(fd)
		return -1, n.replaced()
	}
	return fd, nil
}

// with runs fn on a descriptor of n that is closed afterwards.
func (n *Node) with(flags int, fn func(fd int) error) error {
	fd, err := n.open(flags)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // nothing is pending that close could report: fn syncs what must be durable
	return fn(fd)
}

// lstat asks for the attributes by path: no descriptor, one call.
func (n *Node) lstat(st *unix.Stat_t) error {
	n.t.names.RLock()
	defer n.t.names.RUnlock()
	return n.lstatLocked(st)
}

// lstatLocked is lstat under t.names.
func (n *Node) lstatLocked(st *unix.Stat_t) error {
	rel, err := n.rel()
	if err != nil {
		return err
	}
	if err := unix.Fstatat(n.t.fd(), rel, st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Ino != n.id.Ino {
		return n.replaced()
	}
	return nil
}

func (n *Node) replaced() error {
	return fmt.Errorf("%w: another file is in its place: nothing but sinkfs may change the spool: %w", ErrDamaged, unix.ESTALE)
}

// fail adds what and which to an error of a node.
func (n *Node) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("spool: %s %q: %w", op, n.Path(), err)
}

// Stat asks the file system; nothing is cached.
func (n *Node) Stat() (Stat, error) {
	var st unix.Stat_t
	if err := n.lstat(&st); err != nil {
		return Stat{}, n.fail("stat", err)
	}
	s := Stat{
		Size: st.Size, Blocks: st.Blocks, Mode: st.Mode, UID: st.Uid, GID: st.Gid, Nlink: uint32(st.Nlink),
		Atime: time.Unix(st.Atim.Unix()), Mtime: time.Unix(st.Mtim.Unix()), Ctime: time.Unix(st.Ctim.Unix()),
	}
	if m := n.desc.Load().mode; m != 0 {
		s.Mode = s.Mode&unix.S_IFMT | m&^modeKnown
	}
	return s, nil
}

// Born is when the file was made, in the ticks of the file system; zero where
// that keeps no such time. A rename or restart does not change it.
func (n *Node) Born() time.Time {
	n.t.names.RLock()
	defer n.t.names.RUnlock()
	rel, err := n.rel()
	if err != nil {
		return time.Time{}
	}
	var st unix.Statx_t
	if err := unix.Statx(n.t.fd(), rel, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BTIME, &st); err != nil || st.Mask&unix.STATX_BTIME == 0 {
		return time.Time{}
	}
	return time.Unix(st.Btime.Sec, int64(st.Btime.Nsec))
}

// Size returns the physical size: one system call, no descriptor.
func (n *Node) Size() (int64, error) {
	var st unix.Stat_t
	if err := n.lstat(&st); err != nil {
		return 0, n.fail("stat", err)
	}
	return st.Size, nil
}

// openFlags are those that Open hands on. As open(2) does, and openat2 does
// not, it ignores what it does not know: callers pass on a kernel's flags.
const openFlags = unix.O_ACCMODE | unix.O_APPEND | unix.O_DIRECT | unix.O_DIRECTORY | unix.O_DSYNC | unix.O_NOATIME |
	unix.O_NONBLOCK | unix.O_SYNC

// Open opens the file with flags of open(2); it neither creates nor truncates.
// The descriptor is the caller's and stays good whatever happens to the name.
func (n *Node) Open(flags int) (*os.File, error) {
	if flags&(unix.O_CREAT|unix.O_TRUNC|unix.O_EXCL) != 0 || flags&unix.O_TMPFILE == unix.O_TMPFILE {
		return nil, n.fail("open", unix.EINVAL)
	}
	fd, err := n.open(flags & openFlags)
	if err != nil {
		return nil, n.fail("open", err)
	}
	return os.NewFile(uintptr(fd), n.Path()), nil
}

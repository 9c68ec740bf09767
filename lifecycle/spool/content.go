package spool

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// describe changes the description: first the file's attribute, then what the
// getters say.
func (n *Node) describe(op string, change func(d *desc)) error {
	if n.isDir() {
		return n.fail(op, unix.EISDIR)
	}
	n.op.Lock()
	defer n.op.Unlock()
	d := *n.desc.Load()
	change(&d)
	return n.fail(op, n.redescribe(&d))
}

// redescribe is describe under n.op.
func (n *Node) redescribe(d *desc) error {
	if err := n.with(unix.O_RDONLY, func(fd int) error { return writeDesc(fd, d) }); err != nil {
		return err
	}
	n.desc.Store(d)
	n.metaAt.Store(n.t.clock.Add(1))
	return nil
}

// SetBase notes where the logical file begins: truncation to 0 moves it to the
// physical size. To survive a power cut it needs Sync.
func (n *Node) SetBase(base int64) error {
	if base < 0 {
		return n.fail("set base", unix.EINVAL)
	}
	return n.describe("set base", func(d *desc) { d.base = base })
}

// SetDone notes up to where bytes are released.
func (n *Node) SetDone(done int64) error {
	if done < 0 {
		return n.fail("set done", unix.EINVAL)
	}
	return n.describe("set done", func(d *desc) { d.done = done })
}

// SetKind changes what the bytes become.
func (n *Node) SetKind(k Kind) error {
	if k == Dir || k > Scratch {
		return n.fail("set kind", unix.EINVAL)
	}
	return n.describe("set kind", func(d *desc) { d.kind = k })
}

// Truncate sets the physical size. Bytes of a stream are never taken back:
// EPERM.
func (n *Node) Truncate(size int64) error {
	switch n.Kind() {
	case Dir:
		return n.fail("truncate", unix.EISDIR)
	case Stream:
		return n.fail("truncate", unix.EPERM)
	case File, Scratch:
	}
	n.op.Lock()
	defer n.op.Unlock()
	return n.fail("truncate", n.with(unix.O_WRONLY, func(fd int) error { return unix.Ftruncate(fd, size) }))
}

// Punch gives the space of the bytes in [from, to) back; they read as zeros
// from now on, the size stays, and so does the mtime, which punching would
// set. A file system that cannot do it keeps the space until the file goes:
// nil, since nothing but space is lost, and Open has said so.
func (n *Node) Punch(from, to int64) error {
	if n.isDir() {
		return n.fail("punch", unix.EISDIR)
	}
	if from < 0 || to < from {
		return n.fail("punch", unix.EINVAL)
	}
	if from == to || !n.t.fs.punch {
		return nil
	}
	n.op.Lock()
	defer n.op.Unlock()
	return n.fail("punch", n.with(unix.O_WRONLY, func(fd int) error { return punch(fd, from, to) }))
}

func punch(fd int, from, to int64) error {
	var before, after unix.Stat_t
	if err := unix.Fstat(fd, &before); err != nil {
		return err
	}
	err := error(unix.EINTR)
	for errors.Is(err, unix.EINTR) {
		err = unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, to-from)
	}
	if errors.Is(err, unix.EOPNOTSUPP) { // not tried at Open, the disk was full
		return nil
	}
	if err != nil {
		return err
	}
	if err := unix.Fstat(fd, &after); err != nil {
		return err
	}
	if after.Size != before.Size { // a writer has set it since
		return nil
	}
	return setTimes(fd, unix.Timespec{Nsec: unix.UTIME_OMIT}, before.Mtim)
}

func setTimes(fd int, atime, mtime unix.Timespec) error {
	if err := unix.UtimesNanoAt(fd, "", []unix.Timespec{atime, mtime}, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	return nil
}

// SetAttr changes mode (permission bits), owner and times of a file or
// directory; nil leaves one as it is.
func (t *Tree) SetAttr(n *Node, mode, uid, gid *uint32, atime, mtime *time.Time) error {
	n.op.Lock()
	defer n.op.Unlock()
	err := n.with(unix.O_RDONLY|unix.O_NONBLOCK, func(fd int) error {
		// The owner first: changing it takes setuid bits away.
		if uid != nil || gid != nil {
			if err := unix.Fchown(fd, ownerArg(uid), ownerArg(gid)); err != nil {
				return fmt.Errorf("chown: %w", err)
			}
		}
		if mode != nil {
			if err := n.chmod(fd, *mode&0o7777); err != nil {
				return err
			}
		}
		if atime != nil || mtime != nil {
			return setTimes(fd, timeArg(atime), timeArg(mtime))
		}
		return nil
	})
	n.metaAt.Store(t.clock.Add(1))
	return n.fail("set attributes of", err)
}

// chmod sets the mode that programs see, under n.op.
func (n *Node) chmod(fd int, mode uint32) error {
	d := *n.desc.Load()
	had := d.mode
	mode, d.mode = n.t.ownMode(mode, d.kind)
	if err := unix.Fchmod(fd, mode); err != nil {
		return fmt.Errorf("chmod %04o: %w", mode, err)
	}
	if d.mode == had {
		return nil
	}
	if err := writeDesc(fd, &d); err != nil {
		return err
	}
	n.desc.Store(&d)
	return nil
}

func ownerArg(id *uint32) int {
	if id == nil {
		return -1
	}
	return int(*id)
}

func timeArg(t *time.Time) unix.Timespec {
	if t == nil {
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())} // UnixNano ends in 2262
}

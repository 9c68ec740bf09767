package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"math/rand/v2"
	"os"

	"golang.org/x/sys/unix"
)

// traits is what the file system can do and what we may.
type traits struct {
	punch    bool // bytes can be given back
	versions bool // it numbers generations of an inode
	ownGen   bool // it does not, but inode numbers come back: we number them
	allMight bool // permissions of a file do not bind us
}

// fsIocGetversion is FS_IOC_GETVERSION, _IOR('v', 1, long): the size of a C
// long is part of the number, the answer is an int all the same.
const fsIocGetversion = 0x80007601 | bits.UintSize/8<<16

const probeName = ".probe"

// probe tries on an empty file what every source will need.
func (t *Tree) probe() error {
	t.fs.allMight = os.Geteuid() == 0
	name := graveDir + "/" + probeName
	if err := unix.Unlinkat(t.fd(), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	fd, err := t.openBeneath(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	if full(err) {
		// A full disk must not keep sinkfs from publishing what fills it.
		t.log.Warn("spool is full, what its file system can do was not tried", slog.String("dir", t.dir))
		fd, err = t.openBeneath(treeDir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	}
	if err != nil {
		return fmt.Errorf("make a file: %w", err)
	}
	err = t.probeFD(fd)
	_ = unix.Close(fd) // scratch data
	if err == nil {
		err = t.probeLease(name)
	}
	if uerr := unix.Unlinkat(t.fd(), name, 0); uerr != nil && !errors.Is(uerr, unix.ENOENT) {
		err = errors.Join(err, fmt.Errorf("remove %s: %w", name, uerr))
	}
	return err
}

func full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

func (t *Tree) probeFD(fd int) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return fmt.Errorf("statfs: %w", err)
	}
	_, err := unix.IoctlGetUint32(fd, fsIocGetversion)
	t.fs.versions = err == nil
	t.fs.ownGen = !t.fs.versions && fs.Type != unix.TMPFS_MAGIC
	if fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		t.log.Warn("spool is on overlayfs, which hides writable mappings of closed files: what they write after their file was published is lost",
			slog.String("dir", t.dir))
	}

	err = unix.Fsetxattr(fd, attrName+".probe", make([]byte, maxAttr), 0)
	if err == nil {
		err = unix.Fremovexattr(fd, attrName+".probe")
	}
	if err != nil && !full(err) {
		return fmt.Errorf("%w: it takes no user extended attribute of %d bytes (%w): "+
			"put the spool on ext4, xfs, btrfs or a recent tmpfs (spool_dir)", ErrUnsupported, maxAttr, err)
	}

	const size = 1 << 16
	err = unix.Ftruncate(fd, size)
	if err == nil {
		err = unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, size)
	}
	t.fs.punch = !errors.Is(err, unix.EOPNOTSUPP)
	if !t.fs.punch {
		t.log.Warn("spool cannot give space of published bytes back before a source ends: its file system does not punch holes",
			slog.String("dir", t.dir))
	}
	return nil
}

func (t *Tree) probeLease(name string) error {
	fd, err := t.openBeneath(name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENOENT) { // not made: the disk is full
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	defer func() { _ = unix.Close(fd) }() // drops the lease too
	if err := lease(fd); err != nil {
		return fmt.Errorf("%w: it grants no leases (%w): see that sysctl fs.leases-enable is 1, "+
			"or put the spool on ext4, xfs, btrfs or tmpfs (spool_dir)", ErrUnsupported, err)
	}
	return nil
}

// generation returns what tells an inode from the next one of that number.
// have is what the file's attribute says; new reports that it has to be
// written there.
func (t *Tree) generation(fd int, have uint32) (gen uint32, isNew bool, err error) {
	switch {
	case t.fs.versions:
		gen, err := unix.IoctlGetUint32(fd, fsIocGetversion)
		if err != nil {
			return 0, false, fmt.Errorf("read generation: %w", err)
		}
		return gen, false, nil
	case !t.fs.ownGen:
		return 0, false, nil
	case have != 0:
		return have, false, nil
	}
	return rand.Uint32N(1<<32-1) + 1, true, nil
}

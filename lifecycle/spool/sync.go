package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// What needs a sync is told by a clock that ticks once per change, after the
// change was made: a node remembers the tick of its last change of attributes
// and of its name, and the tick up to which a sync has covered them. A sync
// reads the clock before it starts, so that what changes meanwhile stays
// unsynced.

// raise moves a tick forward, never back.
func raise(a *atomic.Uint64, to uint64) {
	for {
		old := a.Load()
		if old >= to || a.CompareAndSwap(old, to) {
			return
		}
	}
}

// Sync makes durable what was written to the file before the call, its
// attributes, and its name with the directories above it; only the bytes when
// nothing else has changed. A file whose sync has failed once fails until the
// spool is opened again: the kernel tells of lost bytes only once, and also
// when the disk beneath had no room for them.
func (n *Node) Sync() error {
	if !n.isDir() {
		if err := n.syncFile(); err != nil {
			return n.fail("sync", err)
		}
		return n.fail("sync", n.syncName())
	}
	if err := n.syncList(); err != nil {
		return n.fail("sync", err)
	}
	return n.fail("sync", n.syncName())
}

// syncFile is Sync without the name.
func (n *Node) syncFile() error {
	if err := n.failed.Load(); err != nil {
		return *err
	}
	at := n.metaAt.Load()
	return n.with(unix.O_RDONLY|unix.O_NONBLOCK, func(fd int) error {
		sync := unix.Fsync
		if at <= max(n.metaSynced.Load(), n.t.allSynced.Load()) {
			sync = unix.Fdatasync
		}
		if err := sync(fd); err != nil {
			n.failed.Store(&err)
			n.t.hurt.Store(true)
			return err
		}
		raise(&n.metaSynced, at)
		return nil
	})
}

// syncList makes the names in a directory durable.
func (n *Node) syncList() error {
	at := n.t.clock.Load()
	return n.with(unix.O_RDONLY|unix.O_DIRECTORY, func(fd int) error {
		if err := unix.Fsync(fd); err != nil {
			return err
		}
		raise(&n.listSynced, at)
		return nil
	})
}

// syncName makes the name of n durable, and those of the directories above it
// that are new or have moved.
func (n *Node) syncName() error {
	for c := n; ; {
		dir := c.holder()
		if dir == nil { // the two directories of the spool: Open has synced them
			return nil
		}
		if c.nameAt.Load() > max(dir.listSynced.Load(), n.t.allSynced.Load()) {
			err := dir.syncList()
			if errors.Is(err, unix.ESTALE) && c.holder() != dir { // moved, and its old directory is gone
				continue
			}
			if err != nil {
				return fmt.Errorf("directory %q: %w", dir.Path(), err)
			}
		}
		c = dir
	}
}

// holder returns the directory that holds the file's name, of whatever kind.
func (n *Node) holder() *Node {
	n.t.mu.RLock()
	defer n.t.mu.RUnlock()
	return n.parent
}

// SyncAll makes everything in the spool durable: all bytes, attributes and
// names from before the call. It waits for other programs' writes to the same
// file system too. Where it fails, every file is synced by itself to find whose
// bytes are lost; that file fails from then on, and SyncAll with it.
func (t *Tree) SyncAll() error {
	at := t.clock.Load()
	err := t.syncfs()
	if err == nil && !t.hurt.Load() {
		raise(&t.allSynced, at)
		return nil
	}
	if err != nil {
		t.log.Warn("spool sync failed, syncing every file by itself", slog.String("dir", t.dir), slog.String("error", err.Error()))
	}
	t.hurt.Store(false)
	var errs []error
	for _, n := range t.All() {
		if err := n.Sync(); err != nil && !errors.Is(err, unix.ESTALE) { // gone meanwhile
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		t.hurt.Store(true)
	}
	return errors.Join(errs...)
}

// syncfs holds no lock over the wait, so that names can move.
func (t *Tree) syncfs() error {
	t.names.RLock()
	fd, err := unix.FcntlInt(t.base.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	t.names.RUnlock()
	if err != nil {
		return err
	}
	// The duplicate shares the file description, and with it the memory of
	// which write errors were told.
	defer func() { _ = unix.Close(fd) }()
	return unix.Syncfs(fd)
}

// SyncUnlinked makes durable which unlinked files are there and which are
// gone for good.
func (t *Tree) SyncUnlinked() error { return t.grave.syncList() }

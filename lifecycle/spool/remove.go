package spool

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Unlink takes the name of a file away and keeps its bytes, in one step: after
// a crash the file has either the name or none. The node stays, answers Path
// with the name it had, also after a restart, and open descriptors go on. Twice
// is once.
func (t *Tree) Unlink(n *Node) error {
	if n.isDir() {
		return n.fail("unlink", unix.EISDIR)
	}
	n.op.Lock()
	defer n.op.Unlock()
	for {
		last := n.Path()
		if n.Dir() == nil { // it has no name any more
			return nil
		}
		if err := t.noteLast(n, last); err != nil {
			return n.fail("unlink", err)
		}
		done, err := t.bury(n, last)
		if err != nil {
			return n.fail("unlink", err)
		}
		if done {
			return nil
		}
	}
}

// graveName is the name of an unlinked file.
func (n *Node) graveName() string { return fmt.Sprintf("%d-%d", n.id.Ino, n.id.Gen) }

// noteLast writes the path into the file's description, where it means nothing
// as long as the file has a name.
func (t *Tree) noteLast(n *Node, last string) error {
	d := n.desc.Load().withPath(last)
	if d.long {
		if err := t.writePath(n.graveName()+pathSuffix, last); err != nil {
			return err
		}
	}
	return n.redescribe(d)
}

// writePath makes a path durable before the file that needs it loses its name.
func (t *Tree) writePath(name, last string) error {
	t.names.RLock()
	defer t.names.RUnlock()
	fd, err := t.openBeneath(graveDir+"/"+name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte(last))
	if err == nil {
		err = unix.Fsync(fd)
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("note the path: %w", err)
	}
	return nil
}

// bury moves the file out of the tree, unless its path has changed.
func (t *Tree) bury(n *Node, last string) (done bool, err error) {
	t.names.Lock()
	defer t.names.Unlock()
	if n.Path() != last {
		return false, nil
	}
	if n.state != named {
		return true, nil
	}
	name := n.graveName()
	if err := t.move(n, t.grave, name); err != nil {
		return false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(n.parent.children, n.name)
	n.last, n.parent, n.name, n.state = last, t.grave, name, unlinked
	t.grave.children[name] = n
	n.nameAt.Store(t.clock.Add(1))
	return true, nil
}

// Remove takes a file away for good, name and bytes. ErrBusy: somebody may
// still write to it, through a descriptor or a mapping, perhaps from before
// this process; nothing has happened then. Twice is once.
//
// The lease is held until the file has no name, so that no writer comes in
// between; nobody waits for it longer than that takes.
func (t *Tree) Remove(n *Node) error {
	if n.isDir() {
		return n.fail("remove", unix.EISDIR)
	}
	n.op.Lock()
	defer n.op.Unlock()
	if n.isGone() {
		return nil
	}
	fd, err := n.open(unix.O_RDONLY | unix.O_NONBLOCK)
	if err != nil {
		return n.fail("remove", err)
	}
	// Drops the lease, and frees the space: that of a large file takes a while,
	// which no other name may have to wait for.
	defer func() { _ = unix.Close(fd) }()
	if err = lease(fd); err != nil {
		return n.fail("remove", err)
	}
	return n.fail("remove", t.removeName(n))
}

func (n *Node) isGone() bool {
	n.t.mu.RLock()
	defer n.t.mu.RUnlock()
	return n.state == gone
}

// removeName takes the last name away.
func (t *Tree) removeName(n *Node) error {
	t.names.Lock()
	defer t.names.Unlock()
	if n.state == gone {
		return nil
	}
	dir, err := n.parent.openLocked(unix.O_PATH | unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dir) }() // a path only
	if err := unix.Unlinkat(dir, n.name, 0); err != nil {
		return err
	}
	if n.state == unlinked && n.desc.Load().long {
		// What is left of it, the next Open removes.
		_ = unix.Unlinkat(dir, n.name+pathSuffix, 0)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(n)
	return nil
}

// Rmdir removes an empty directory; ENOTEMPTY.
func (t *Tree) Rmdir(n *Node) error {
	t.names.Lock()
	defer t.names.Unlock()
	if err := t.rmdir(n); err != nil {
		return n.fail("rmdir", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(n)
	return nil
}

func (t *Tree) rmdir(n *Node) error {
	switch {
	case !n.isDir():
		return unix.ENOTDIR
	case n.state == gone:
		return unix.ENOENT
	case n.parent == nil:
		return unix.EBUSY
	case len(n.children) > 0:
		return unix.ENOTEMPTY
	}
	dir, err := n.parent.openLocked(unix.O_PATH | unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dir) }() // a path only
	return unix.Unlinkat(dir, n.name, unix.AT_REMOVEDIR)
}

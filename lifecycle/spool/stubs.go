package spool

import (
	"errors"
	"log/slog"
	"os"
	"time"
)

var errSoon = errors.New("not yet")

// Tree is the spool.
type Tree struct{}

// Node is one file or directory of the spool.
type Node struct{}

// Open opens the spool in dir.
func Open(dir string, log *slog.Logger) (*Tree, error) { return nil, errSoon }

// Close releases the spool.
func (t *Tree) Close() error { return errSoon }

// Root returns the root directory.
func (t *Tree) Root() *Node { return nil }

// Ino returns the root's inode number.
func (t *Tree) Ino() uint64 { return 0 }

// Node finds a node by inode number.
func (t *Tree) Node(ino uint64) *Node { return nil }

// Lookup finds a name.
func (t *Tree) Lookup(dir *Node, name string) *Node { return nil }

// Children lists a directory.
func (t *Tree) Children(dir *Node) []*Node { return nil }

// All lists every node.
func (t *Tree) All() []*Node { return nil }

// Create makes a file.
func (t *Tree) Create(dir *Node, name string, k Kind, mode, uid, gid uint32) (*Node, error) {
	return nil, errSoon
}

// Mkdir makes a directory.
func (t *Tree) Mkdir(dir *Node, name string, mode, uid, gid uint32) (*Node, error) {
	return nil, errSoon
}

// MkdirAll makes the directories of a path.
func (t *Tree) MkdirAll(path string, mode uint32) (*Node, error) { return nil, errSoon }

// Rename moves a node.
func (t *Tree) Rename(n, toDir *Node, toName string) error { return errSoon }

// Unlink takes the name away and keeps the bytes.
func (t *Tree) Unlink(n *Node) error { return errSoon }

// Remove takes name and bytes away.
func (t *Tree) Remove(n *Node) error { return errSoon }

// Rmdir removes an empty directory.
func (t *Tree) Rmdir(n *Node) error { return errSoon }

// SetAttr changes attributes; nil leaves one as it is.
func (t *Tree) SetAttr(n *Node, mode, uid, gid *uint32, atime, mtime *time.Time) error {
	return errSoon
}

// Free returns free and total bytes.
func (t *Tree) Free() (free, total uint64, err error) { return 0, 0, errSoon }

// SyncAll makes everything durable.
func (t *Tree) SyncAll() error { return errSoon }

// ID returns the identity.
func (n *Node) ID() ID { return ID{} }

// Kind returns the kind.
func (n *Node) Kind() Kind { return Dir }

// Path returns the current path.
func (n *Node) Path() string { return "" }

// Name returns the last element of the path.
func (n *Node) Name() string { return "" }

// Dir returns the parent.
func (n *Node) Dir() *Node { return nil }

// Unlinked reports whether the name is gone.
func (n *Node) Unlinked() bool { return false }

// Adopted reports whether the kind is a guess.
func (n *Node) Adopted() bool { return false }

// Stat asks the file system.
func (n *Node) Stat() (Stat, error) { return Stat{}, errSoon }

// Size returns the physical size.
func (n *Node) Size() (int64, error) { return 0, errSoon }

// Base returns the base.
func (n *Node) Base() int64 { return 0 }

// Done returns how far the bytes are released.
func (n *Node) Done() int64 { return 0 }

// SetBase moves the base.
func (n *Node) SetBase(int64) error { return errSoon }

// SetDone notes how far the bytes are released.
func (n *Node) SetDone(int64) error { return errSoon }

// SetKind changes the kind.
func (n *Node) SetKind(Kind) error { return errSoon }

// Open opens the file.
func (n *Node) Open(flags int) (*os.File, error) { return nil, errSoon }

// Truncate sets the physical size of a file or scratch.
func (n *Node) Truncate(size int64) error { return errSoon }

// Punch gives the bytes of [from, to) back to the file system.
func (n *Node) Punch(from, to int64) error { return errSoon }

// Idle reports whether nobody can write.
func (n *Node) Idle() error { return errSoon }

// Sync makes the file and its name durable.
func (n *Node) Sync() error { return errSoon }

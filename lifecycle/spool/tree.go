package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// The two directories of a spool.
const (
	treeDir  = "tree"
	graveDir = "unlinked"
)

// Tree is a spool: the index of everything in it and the only way to change a
// name. It is safe for concurrent use.
//
// Locks, in the order in which they are taken: Node.op, names, mu.
type Tree struct {
	dir   string // as configured, for messages
	log   *slog.Logger
	base  *os.File // the spool's directory; every path is relative to it
	dev   uint64
	fs    traits
	root  *Node
	grave *Node // directory of the files whose name is gone

	// names is read-locked over every system call that goes by a path and
	// write-locked while a name goes or moves, so that no path goes stale
	// between the index and the kernel.
	names sync.RWMutex
	// mu guards the index: nodes, and the place of every node. It is never
	// held over a system call.
	mu    sync.RWMutex
	nodes map[uint64]*Node

	clock     atomic.Uint64 // see sync.go
	allSynced atomic.Uint64
	hurt      atomic.Bool
}

// Open opens the spool in dir, making it (mode 0700) where it is missing. It
// asks what the file system can do and scans the tree. ErrUnsupported: the file
// system cannot hold a spool. ErrDamaged: something in the tree is not ours or
// not readable. Both say what to do.
//
// An undescribed file was left by a crash between its creation and the answer
// to its creator, or put there by somebody else. Empty ones are removed: no
// create of theirs ever returned. Others are adopted as streams with all of
// their bytes unpublished, see [Node.Adopted].
//
// A spool has one Tree at a time, in one process: its caller holds the lock of
// the state directory.
func Open(dir string, log *slog.Logger) (*Tree, error) {
	t := &Tree{dir: dir, log: log, nodes: map[uint64]*Node{}}
	if err := t.openBase(); err != nil {
		return nil, fmt.Errorf("spool %s: %w", dir, err)
	}
	t.clock.Store(1)
	err := t.probe()
	if err == nil {
		err = t.scan()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("spool %s: %w", dir, err), t.base.Close())
	}
	log.Info("spool opened", slog.String("dir", dir), slog.Int("nodes", len(t.nodes)),
		slog.Bool("punch", t.fs.punch), slog.Bool("generations", t.fs.versions))
	return t, nil
}

// openBase opens the directory and makes it and its two subdirectories durable.
func (t *Tree) openBase() error {
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return err
	}
	base, err := os.OpenFile(t.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	t.base = base
	if err := t.prepareBase(); err != nil {
		return errors.Join(err, base.Close())
	}
	return nil
}

func (t *Tree) prepareBase() error {
	var st unix.Stat_t
	if err := unix.Fstat(t.fd(), &st); err != nil {
		return err
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return fmt.Errorf("owned by uid %d with mode %04o: others could change what is not published yet: chown it to uid %d, chmod 0700: %w",
			st.Uid, st.Mode&0o7777, os.Geteuid(), unix.EPERM)
	}
	t.dev = st.Dev
	if st.Mode&0o077 != 0 {
		if err := unix.Fchmod(t.fd(), 0o700); err != nil {
			return err
		}
	}
	made := false
	for _, d := range []struct {
		name string
		mode uint32
	}{{treeDir, 0o755}, {graveDir, 0o700}} {
		err := unix.Mkdirat(t.fd(), d.name, d.mode)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("make %s: %w", d.name, err)
		}
		made = made || err == nil
	}
	if !made {
		return nil
	}
	if err := t.base.Sync(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(t.dir))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// fd is the base directory's, -1 after Close.
func (t *Tree) fd() int { return int(t.base.Fd()) }

// Close lets go of the spool. Nodes answer EBADF from now on; descriptors that
// were handed out stay good. It syncs nothing.
func (t *Tree) Close() error {
	t.names.Lock()
	defer t.names.Unlock()
	return t.base.Close()
}

// Root returns the directory that is the root of the mount.
func (t *Tree) Root() *Node { return t.root }

// Ino returns the inode number of the root directory. It stays as long as the
// spool; a copy of it has another.
func (t *Tree) Ino() uint64 { return t.root.id.Ino }

// Node returns the node with that inode number, with or without a name; nil
// when there is none.
func (t *Tree) Node(ino uint64) *Node {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.nodes[ino]
}

// Lookup returns the node of that name in dir; nil when there is none.
func (t *Tree) Lookup(dir *Node, name string) *Node {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return dir.children[name]
}

// Children returns what dir holds now, in order of name.
func (t *Tree) Children(dir *Node) []*Node {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return dir.sorted()
}

// sorted is Children under t.mu.
func (n *Node) sorted() []*Node {
	list := make([]*Node, 0, len(n.children))
	for _, c := range n.children {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *Node) int { return strings.Compare(a.name, b.name) })
	return list
}

// All returns every node there is now: directories with the root, files with
// and without a name, in no order.
func (t *Tree) All() []*Node {
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := make([]*Node, 0, len(t.nodes))
	for _, n := range t.nodes {
		list = append(list, n)
	}
	return list
}

// Free returns how many bytes a program without privileges can still write,
// and how many the file system has.
func (t *Tree) Free() (free, total uint64, err error) {
	t.names.RLock()
	defer t.names.RUnlock()
	var st unix.Statfs_t
	if err := unix.Fstatfs(t.fd(), &st); err != nil {
		return 0, 0, fmt.Errorf("spool %s: free space: %w", t.dir, err)
	}
	size := uint64(st.Frsize)
	if size == 0 {
		size = uint64(st.Bsize)
	}
	return st.Bavail * size, st.Blocks * size, nil
}

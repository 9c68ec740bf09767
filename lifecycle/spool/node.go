package spool

import (
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Node is one file or directory of the spool, for as long as it exists. It is
// safe for concurrent use. Its getters take no system call and never wait for
// the disk.
type Node struct {
	t       *Tree
	id      ID
	adopted bool
	desc    atomic.Pointer[desc]

	// The place in the tree, guarded by t.mu.
	parent   *Node            // nil: root, the directory of unlinked files, or gone
	name     string           // in parent
	children map[string]*Node // of a directory
	last     string           // Path of a node without a name
	state    state

	// op is held while the attribute changes and while the spool itself has
	// the file open for writing, which would make its own lease fail.
	op sync.Mutex

	// What is durable, in ticks of t.clock (see sync.go).
	metaAt     atomic.Uint64 // attributes changed
	metaSynced atomic.Uint64
	nameAt     atomic.Uint64 // got this name
	listSynced atomic.Uint64 // of a directory: names up to here are durable
	failed     atomic.Pointer[error]
}

type state uint8

const (
	named state = iota
	unlinked
	gone
)

// ID returns the identity of the node, which no later file will have.
func (n *Node) ID() ID { return n.id }

// Kind returns what its bytes become.
func (n *Node) Kind() Kind { return n.desc.Load().kind }

// Base returns the physical offset where the logical file begins.
func (n *Node) Base() int64 { return n.desc.Load().base }

// Done returns how far bytes have been released.
func (n *Node) Done() int64 { return n.desc.Load().done }

// Adopted reports whether Open found the file undescribed: somebody put it
// there, or a copy lost its attributes. Its kind is a guess then (Stream).
func (n *Node) Adopted() bool { return n.adopted }

// Path returns the current path below the root, "" for the root itself. A node
// whose name is gone answers the last one it had.
func (n *Node) Path() string {
	n.t.mu.RLock()
	defer n.t.mu.RUnlock()
	return n.path()
}

// Name returns the last element of Path.
func (n *Node) Name() string {
	p := n.Path()
	return p[strings.LastIndexByte(p, '/')+1:]
}

// Dir returns the directory that holds the name; nil for the root and for a
// node whose name is gone.
func (n *Node) Dir() *Node {
	n.t.mu.RLock()
	defer n.t.mu.RUnlock()
	if n.state != named {
		return nil
	}
	return n.parent
}

// Unlinked reports whether the name is gone while the bytes are still kept.
func (n *Node) Unlinked() bool {
	n.t.mu.RLock()
	defer n.t.mu.RUnlock()
	return n.state == unlinked
}

// path is Path under t.mu.
func (n *Node) path() string {
	if n.state != named {
		return n.last
	}
	if n.parent == nil {
		return ""
	}
	return n.join(n.t.root)
}

// rel returns where the file is, relative to the spool's own directory. It
// holds only under t.names.
func (n *Node) rel() (string, error) {
	n.t.mu.RLock()
	defer n.t.mu.RUnlock()
	if n.state == gone {
		return "", unix.ESTALE
	}
	return n.join(nil), nil
}

// join puts the names from below top down to n together.
func (n *Node) join(top *Node) string {
	size := -1
	for c := n; c != top; c = c.parent {
		size += 1 + len(c.name)
	}
	b := make([]byte, size)
	for c := n; c != top; c = c.parent {
		size -= len(c.name)
		copy(b[size:], c.name)
		if size > 0 {
			size--
			b[size] = '/'
		}
	}
	return string(b)
}

// isDir needs no lock: a directory stays one.
func (n *Node) isDir() bool { return n.desc.Load().kind == Dir }

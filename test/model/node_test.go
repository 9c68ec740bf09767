package model_test

import (
	"bytes"
	"path"
	"strings"
	"syscall"
)

type kind uint8

const (
	directory kind = iota
	stream
	file
	scratch
)

// node is what a name stands for, in the model.
type node struct {
	kind     kind
	id       int
	parent   *node // nil for the roots and what has no name
	name     string
	children map[string]*node
	spool    bool   // a directory that a program made; else it is there because something finished is
	data     []byte // of a stream all that was ever written
	base     int    // where a stream begins, for those who look at it
	mode     uint32
	mtime    int64 // in seconds, 0: not known
	finished bool
	handles  map[*handle]bool

	begun     int      // where the record of a stream begins that has no end
	whole     []record // ended, not published
	published int
	last      string // the directory of a stream whose name is gone
	flushed   bool   // a descriptor that wrote was closed
	was       kind   // scratch, when a rename just made it something else
}

// record is a record of a stream and the directory it is published in.
type record struct{ dir, text string }

// path is the path of a node, from the mount.
func (n *node) path() string {
	if n.parent == nil {
		return n.name
	}
	return n.parent.path() + "/" + n.name
}

func (n *node) dir() string {
	if n.parent == nil {
		return n.last
	}
	return n.parent.path()
}

func (n *node) size() int { return len(n.data) - n.base }

func (n *node) writers() (count int) {
	for h := range n.handles {
		if h.writes() {
			count++
		}
	}
	return count
}

// within says that n is d or below it.
func (n *node) within(d *node) bool {
	for ; n != nil; n = n.parent {
		if n == d {
			return true
		}
	}
	return false
}

// added cuts the records that end in what a stream holds now.
func (n *node) added() {
	n.mtime = 0
	for n.kind == stream {
		i := bytes.IndexByte(n.data[n.begun:], '\n')
		if i < 0 {
			return
		}
		n.take(n.begun + i + 1)
	}
}

// take ends the record that is begun.
func (n *node) take(end int) {
	if end > n.begun {
		n.whole = append(n.whole, record{n.dir(), string(n.data[n.begun:end])})
	}
	n.begun = end
}

// truncate is truncate and ftruncate.
func (n *node) truncate(size int) syscall.Errno {
	switch {
	case n.finished && size != n.size():
		return syscall.EPERM
	case n.finished:
	case n.kind != stream:
		n.data = append(n.data, make([]byte, max(0, size-len(n.data)))...)[:size:size]
		n.mtime = 0
	case size == 0:
		n.take(len(n.data))
		n.base, n.mtime = len(n.data), 0
		for h := range n.handles {
			h.atZero = true
		}
	case size != n.size():
		return syscall.EPERM
	default:
		n.mtime = 0
	}
	return 0
}

// handle is an open file: one, however many descriptors it has.
type handle struct {
	node  *node
	fds   []int
	flags int
	pos   int
	known bool // of an appending handle nobody knows the position
	// Where a stream takes what is not appended, besides at its end.
	own    int
	wrote  bool
	atZero bool
}

func (h *handle) writes() bool  { return h.flags&syscall.O_ACCMODE != syscall.O_RDONLY }
func (h *handle) reads() bool   { return h.flags&syscall.O_ACCMODE != syscall.O_WRONLY }
func (h *handle) appends() bool { return h.flags&syscall.O_APPEND != 0 }

// write is write and pwrite, which gives off.
func (h *handle) write(text string, off *int) syscall.Errno {
	n, at := h.node, h.pos
	if off != nil {
		at = *off
	}
	switch {
	case !h.writes():
		return syscall.EBADF
	case n.kind == stream:
		if !h.appends() && at != n.size() && !(h.wrote && at == h.own) && !(h.atZero && at == 0) {
			return syscall.ESPIPE
		}
		n.data = append(n.data, text...)
		h.own, h.wrote, h.atZero = at+len(text), true, false
	default:
		if h.appends() {
			at = n.size()
		}
		n.data = append(n.data, make([]byte, max(0, at+len(text)-len(n.data)))...)
		copy(n.data[at:], text)
	}
	if off == nil {
		h.pos = at + len(text)
		h.known = n.kind != stream || !h.appends()
	}
	n.added()
	return 0
}

// kindOf is the kind of a new name.
func kindOf(dir, name string) kind {
	switch {
	case strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, ".log.1"):
		return scratch
	case strings.HasPrefix(dir, "files/") || path.Ext(name) == ".gz":
		return file
	}
	return stream
}

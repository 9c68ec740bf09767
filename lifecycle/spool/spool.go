// Package spool keeps what programs have written and sinkfs has not yet
// published: one directory tree with the names of the mount, one file per
// source. It owns every name, attribute and byte below its directory, hands
// out descriptors and never paths, and keeps no descriptor of its own open per
// source.
//
//	<dir>/tree/      the names as programs see them
//	<dir>/unlinked/  files whose name is gone and whose records are not out yet
//
// What a file is (kind, base, done, last path) lives in one extended attribute
// of the file itself, so a crash needs no repair: Open scans the tree and knows
// everything again.
package spool

import (
	"errors"
	"time"
)

// Kind says what the bytes of a node become. It is fixed when the file is
// made; only scratch changes it, when it is renamed.
type Kind uint8

// The kinds. Every node has exactly one.
const (
	Dir     Kind = iota // a directory
	Stream              // an endless log: ranges of it become parts
	File                // becomes one part when it is closed
	Scratch             // never published
)

// String returns the word that status and logs use.
func (k Kind) String() string {
	switch k {
	case Dir:
		return "dir"
	case Stream:
		return "stream"
	case File:
		return "file"
	case Scratch:
		return "scratch"
	}
	return "unknown"
}

// ID names a spool file for its whole life: inode numbers come back after a
// file is gone, the pair does not. Gen is 0 where numbers never come back
// (tmpfs).
type ID struct {
	Ino uint64
	Gen uint32
}

// Stat is what the file system says of a node. Size is physical: a base or
// released bytes do not shorten it. Mode is st_mode: type and permission bits.
type Stat struct {
	Size, Blocks          int64
	Mode, UID, GID, Nlink uint32
	Atime, Mtime, Ctime   time.Time
}

// What can be wrong with a spool. Everything else wraps its syscall.Errno.
var (
	// ErrBusy: a writer or a writable mapping of the file lives, perhaps one
	// from before this process.
	ErrBusy = errors.New("still open for writing")
	// ErrDamaged: the spool holds what sinkfs did not put there or cannot read.
	ErrDamaged = errors.New("spool is damaged")
	// ErrUnsupported: the file system lacks what a spool needs.
	ErrUnsupported = errors.New("file system cannot hold a spool")
)

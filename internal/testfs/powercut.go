package testfs

import (
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
)

// PowerCut is a disk that can lose its power: a file system on an image whose
// outer file system can clone it in one instant. The clone holds what the inner
// one had really written and nothing that it still kept in memory, in the order
// in which it wrote it: mmap, journal and directory entries included.
type PowerCut struct {
	kind  Kind
	outer string
	dir   string
	cuts  atomic.Int32
}

// NewPowerCut makes such a disk with a mounted file system of that kind (Ext4,
// Ext4k1, XFS or Btrfs) and size.
func NewPowerCut(tb testing.TB, k Kind, sizeMiB int) *PowerCut {
	tb.Helper()
	p := &PowerCut{kind: k, outer: New(tb, XFS, 8*max(sizeMiB, minMiB(k)))}
	Mkfs(tb, k, p.image(), sizeMiB)
	mnt := tb.TempDir()
	Loop(tb, k, p.image(), mnt)
	p.dir = mkdir(tb, mnt, "d")
	run(tb, "sync", "-f", p.dir)
	return p
}

func (p *PowerCut) image() string { return filepath.Join(p.outer, "inner.img") }

// Dir is a directory on the running file system. It is durable.
func (p *PowerCut) Dir() string { return p.dir }

// Cut takes the power away from a copy of the disk and gives it back: it
// returns what Dir would then be, on a file system that has recovered. The
// running one goes on, so that one run can be cut many times. The copy goes
// with tb.
func (p *PowerCut) Cut(tb testing.TB) string {
	tb.Helper()
	snap := filepath.Join(p.outer, "snap"+strconv.Itoa(int(p.cuts.Add(1)))+".img")
	run(tb, "cp", "--reflink=always", p.image(), snap)
	tb.Cleanup(func() { run(tb, "rm", "-f", snap) })
	mnt := tb.TempDir()
	Loop(tb, p.kind, snap, mnt)
	return filepath.Join(mnt, "d")
}

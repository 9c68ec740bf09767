package fusefs

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// How long the kernel believes what it was told. A name that is absent is
// never believed: the next checkpoint may make it. A stream's name stays until
// it is changed through the mount, or is past its ttl and answers ESTALE.
//
// Of an unfinished file's attributes the kernel forgets the size and the times
// at each write, passed through or not, and asks again. What it keeps for a
// moment are mode and owner, which only SETATTR changes: without, each open
// and each write asks for them.
const (
	unfinishedName = time.Hour
	finishedName   = time.Minute // other hosts may delete
	finishedAttr   = time.Hour
	unfinishedAttr = time.Second // directories too
	directoryKept  = time.Second // the name of one that only the store has
)

const (
	typeMask  = syscall.S_IFMT
	blockSize = 4096
)

// spoolAttr is what stat shows of an unfinished name.
func (f *FS) spoolAttr(id uint64, a lifecycle.Attr, out *fuse.Attr) {
	st := a.Stat
	*out = fuse.Attr{
		Ino: shownIno(id), Size: uint64(a.Size), Blocks: uint64(st.Blocks), Nlink: 1, Blksize: blockSize,
		Mode: st.Mode&0o7777 | syscall.S_IFREG, Owner: fuse.Owner{Uid: st.UID, Gid: st.GID},
	}
	switch {
	case a.Kind == spool.Dir:
		out.Mode = st.Mode&0o7777 | syscall.S_IFDIR
		out.Size, out.Nlink = blockSize, 2
	case a.Unlinked:
		out.Nlink = 0
	}
	setTimes(out, st.Atime, st.Mtime, st.Ctime)
}

func setTimes(out *fuse.Attr, atime, mtime, ctime time.Time) { out.SetTimes(&atime, &mtime, &ctime) }

// storeAttr is what stat shows of a finished file or a store-only directory.
func (f *FS) storeAttr(id uint64, info backend.Info, out *fuse.Attr) {
	owner := fuse.Owner{Uid: f.cfg.UID, Gid: f.cfg.GID}
	if info.Dir {
		*out = fuse.Attr{Ino: id, Size: blockSize, Nlink: 2, Blksize: blockSize, Mode: f.cfg.DirMode&0o7777 | syscall.S_IFDIR, Owner: owner}
		setTimes(out, f.started, f.started, f.started)
		return
	}
	*out = fuse.Attr{
		Ino: id, Size: uint64(info.Size), Blocks: uint64(info.Size+511) / 512, Nlink: 1, Blksize: blockSize,
		Mode: 0o444&^f.cfg.Umask | syscall.S_IFREG, Owner: owner,
	}
	if info.Owned {
		out.Mode = info.Mode&0o7777 | syscall.S_IFREG
		out.Owner = fuse.Owner{Uid: info.UID, Gid: info.GID}
	}
	setTimes(out, info.ModTime, info.ModTime, info.ModTime)
}

// GetAttr is fstat and stat.
func (f *FS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	switch spaceOf(in.NodeId) {
	case spaceSpool:
		a, err := f.attrOf(in.NodeId)
		if err != nil {
			return f.status(err)
		}
		f.spoolAttr(in.NodeId, a, &out.Attr)
		out.SetTimeout(unfinishedAttr)
	case spaceStore:
		if n, ok := f.nodes.get(in.NodeId); ok && n.ino != 0 {
			if a, err := f.in.Attr(n.ino); err == nil { // mode and owner are kept there
				f.spoolAttr(in.NodeId, a, &out.Attr)
				out.SetTimeout(directoryKept)
				return fuse.OK
			}
		}
		info, err := f.storeInfo(in.NodeId)
		if err != nil {
			return f.status(err)
		}
		f.storeAttr(in.NodeId, info, &out.Attr)
		out.SetTimeout(storeKept(info))
	default:
		var h *handle
		if in.Flags()&fuse.FUSE_GETATTR_FH != 0 {
			h = f.handles.get(in.Fh())
		}
		return f.status(f.controlAttr(in.NodeId, h, &out.Attr))
	}
	return fuse.OK
}

func (f *FS) attrOf(id uint64) (lifecycle.Attr, error) {
	ino, err := f.spoolIno(id)
	if err != nil {
		return lifecycle.Attr{}, err
	}
	return f.in.Attr(ino)
}

func storeKept(i backend.Info) time.Duration {
	if i.Dir {
		return directoryKept
	}
	return finishedAttr
}

// storeInfo is what a store node id means. Of a finished file it is known for
// ever, so a store that is down does not matter.
func (f *FS) storeInfo(id uint64) (backend.Info, error) {
	n, ok := f.nodes.get(id)
	switch {
	case !ok:
		return backend.Info{}, fmt.Errorf("node %x: %w", id, errUnknownNode)
	case n.dir:
		return backend.Info{Key: backend.Key(n.key), Dir: true}, nil
	case n.info != nil:
		return *n.info, nil
	}
	return f.stat(n.key)
}

// SetAttr is chmod, chown, utimens, truncate.
func (f *FS) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	switch spaceOf(in.NodeId) {
	case spaceSpool:
		a, err := f.setSpool(in)
		if err != nil {
			return f.status(err)
		}
		f.spoolAttr(in.NodeId, a, &out.Attr)
		out.SetTimeout(unfinishedAttr)
	case spaceStore:
		return f.setFinished(in, out)
	default:
		if in.Valid&(fuse.FATTR_MODE|fuse.FATTR_UID|fuse.FATTR_GID) != 0 {
			return fuse.EPERM
		}
		// O_TRUNC is a no-op, and so is touch.
		return f.status(f.controlAttr(in.NodeId, nil, &out.Attr))
	}
	return fuse.OK
}

func (f *FS) setSpool(in *fuse.SetAttrIn) (lifecycle.Attr, error) {
	a, err := f.attrOf(in.NodeId)
	if err != nil {
		return a, err
	}
	ino := a.Ino
	if size, ok := in.GetSize(); ok {
		if size > 1<<62 {
			return a, syscall.EFBIG
		}
		if a, err = f.in.Truncate(ino, int64(size)); err != nil {
			return a, err
		}
		if size == 0 && a.Kind == spool.Stream {
			f.files.emptied(ino)
		}
	}
	change, any := f.changeOf(in, a)
	if !any {
		return a, nil
	}
	b, err := f.in.SetAttr(ino, change)
	if errors.Is(err, lifecycle.ErrFinished) && f.equal(in, a) {
		return a, nil
	}
	return b, err
}

// changeOf is what the call asks for, other than the size.
func (f *FS) changeOf(in *fuse.SetAttrIn, a lifecycle.Attr) (c lifecycle.SetAttr, any bool) {
	if mode, ok := in.GetMode(); ok {
		c.Mode = &mode
	} else if in.Valid&fuse.FATTR_KILL_SUIDGID != 0 {
		if mode, ok := withoutPrivileges(a.Stat.Mode & 0o7777); ok {
			c.Mode = &mode
		}
	}
	if uid, ok := in.GetUID(); ok {
		c.UID = &uid
	}
	if gid, ok := in.GetGID(); ok {
		c.GID = &gid
	}
	if t, ok := in.GetATime(); ok {
		c.Atime = &t
	}
	if t, ok := in.GetMTime(); ok {
		c.Mtime = &t
	}
	return c, c != lifecycle.SetAttr{}
}

// withoutPrivileges is the mode that a write by somebody else leaves.
func withoutPrivileges(mode uint32) (uint32, bool) {
	without := mode &^ syscall.S_ISUID
	if mode&syscall.S_IXGRP != 0 {
		without &^= syscall.S_ISGID
	}
	return without, without != mode
}

// equal says that a prepared file has all that is asked for already.
func (f *FS) equal(in *fuse.SetAttrIn, a lifecycle.Attr) bool {
	var now fuse.Attr
	f.spoolAttr(in.NodeId, a, &now)
	return sameAttr(in, &now)
}

// setFinished lets pass what changes nothing. A finished file has no atime of
// its own, so that may be anything.
func (f *FS) setFinished(in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	info, err := f.storeInfo(in.NodeId)
	if err != nil {
		return f.status(err)
	}
	if info.Dir {
		return f.setStoreDir(in, out)
	}
	f.storeAttr(in.NodeId, info, &out.Attr)
	if !sameAttr(in, &out.Attr) {
		return fuse.EPERM
	}
	out.SetTimeout(finishedAttr)
	return fuse.OK
}

// setStoreDir gives a directory that only the store has a place in the spool,
// where modes and owners are kept.
func (f *FS) setStoreDir(in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	d, err := f.dir(in.NodeId)
	if err == nil {
		err = f.settle(&d)
	}
	if err != nil {
		return f.status(err)
	}
	change, _ := f.changeOf(in, lifecycle.Attr{})
	a, err := f.in.SetAttr(d.ino, change)
	if err != nil {
		return f.status(err)
	}
	f.spoolAttr(in.NodeId, a, &out.Attr)
	out.SetTimeout(directoryKept)
	return fuse.OK
}

func sameAttr(in *fuse.SetAttrIn, now *fuse.Attr) bool {
	if size, ok := in.GetSize(); ok && size != now.Size {
		return false
	}
	if mode, ok := in.GetMode(); ok && mode != now.Mode&^uint32(typeMask) {
		return false
	}
	if uid, ok := in.GetUID(); ok && uid != now.Uid {
		return false
	}
	if gid, ok := in.GetGID(); ok && gid != now.Gid {
		return false
	}
	if in.Valid&fuse.FATTR_MTIME != 0 {
		if in.Valid&fuse.FATTR_MTIME_NOW != 0 {
			return false
		}
		// A store that keeps whole seconds still keeps the time.
		return in.Mtime == now.Mtime && (in.Mtimensec == now.Mtimensec || now.Mtimensec == 0)
	}
	return true
}

// Access is not asked: default_permissions lets the kernel decide by what
// GetAttr said.
func (f *FS) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.OK }

// Statx is answered with less than could be known; the kernel falls back to
// GetAttr for good.
func (f *FS) Statx(<-chan struct{}, *fuse.StatxIn, *fuse.StatxOut) fuse.Status { return fuse.ENOSYS }

// StatFs shows the spool's space: that is what writers can use.
func (f *FS) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	free, total, err := f.in.Free()
	if err != nil {
		return f.status(err)
	}
	*out = fuse.StatfsOut{
		Blocks: total / blockSize, Bfree: free / blockSize, Bavail: free / blockSize,
		Bsize: blockSize, Frsize: blockSize, NameLen: 255,
	}
	return fuse.OK
}

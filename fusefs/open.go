package fusefs

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/sinkfs/sinkfs/lifecycle"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// useOfFlags is what open(2) asks for.
func useOfFlags(flags uint32) handleBits {
	switch flags & syscall.O_ACCMODE {
	case syscall.O_RDONLY:
		return handleRead
	case syscall.O_WRONLY:
		return handleWrite
	}
	return handleRead | handleWrite
}

// Open opens what has a name already.
func (f *FS) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if h := f.handles.ofRequest(in.Unique); h != nil {
		f.reopen(h, out)
		return fuse.OK
	}
	o := opening{unique: in.Unique, node: in.NodeId, flags: in.Flags, bits: useOfFlags(in.Flags), uid: in.Uid}
	var err error
	switch spaceOf(in.NodeId) {
	case spaceSpool:
		err = f.openSpool(o, callerOf(in.Caller), out)
	case spaceStore:
		err = f.openFinished(o, out)
	case spaceControl:
		err = f.openControl(o, out)
	default:
		err = syscall.EISDIR
	}
	return f.status(err)
}

func callerOf(c fuse.Caller) lifecycle.Caller { return lifecycle.Caller{UID: c.Uid, GID: c.Gid} }

// openSpool opens an unfinished file: no journal entry, no sync, and once the
// kernel has its backing no more than a count.
func (f *FS) openSpool(o opening, c lifecycle.Caller, out *fuse.OpenOut) error {
	ino, err := f.spoolIno(o.node)
	if err != nil {
		return err
	}
	a, err := f.in.OpenFile(ino, useOf(o.bits), c)
	if errors.Is(err, lifecycle.ErrUnfinished) && o.bits&handleWrite != 0 {
		// O_RDWR by somebody who may write: the reads are what is refused.
		o.bits = o.bits&^handleRead | handleNoRead
		a, err = f.in.OpenFile(ino, useOf(o.bits), c)
	}
	if err != nil {
		return err
	}
	if err := f.openCounted(o, a, out); err != nil {
		f.in.ReleaseFile(ino, useOf(o.bits))
		return err
	}
	return nil
}

// openCounted gives the kernel a handle of a file that the instance counts.
func (f *FS) openCounted(o opening, a lifecycle.Attr, out *fuse.OpenOut) error {
	if spoolID(a.Ino, a.Gen, f.root) != o.node {
		return fmt.Errorf("node %x: %w", o.node, errUnknownNode) // the number has come back just now
	}
	switch {
	case a.Kind != spool.Stream:
		o.bits |= handleAsFile
	case a.Size == 0:
		o.bits |= handleAtZero
	}
	h := &handle{}
	file, err := f.files.acquire(f, h, a.Ino, a.Gen, o.bits)
	if err != nil {
		return err
	}
	h.file = file
	flags, backing, cached := f.ioMode(file, o)
	if cached {
		o.bits |= handleCached
		f.files.nowCached(file)
	}
	if err := f.handles.open(o, h); err != nil {
		f.files.release(f, h, o.bits)
		return err
	}
	f.files.opened(f, h, a.Base)
	out.Fh, out.OpenFlags, out.BackingID = h.fh, flags, backing
	return nil
}

// ioMode decides which way the bytes of a handle go.
//
// Of a stream only O_WRONLY|O_APPEND handles are passed through: any other
// could overwrite what was acknowledged. The rest writes to the daemon, which
// must still name the backing, because all handles of an inode have to agree
// on it. Files are passed through whatever the handle; without passthrough all
// handles of one go through the page cache, so that mmap works.
func (f *FS) ioMode(file *openFile, o opening) (flags uint32, backing int32, cached bool) {
	appends := o.flags&syscall.O_ACCMODE == syscall.O_WRONLY && o.flags&syscall.O_APPEND != 0
	toDaemon := o.bits&handleNoRead != 0 || o.bits&handleAsFile == 0 && !appends
	if !f.files.isCached(file) {
		if id, ok := f.back.of(file); ok {
			if toDaemon {
				return fuse.FOPEN_PASSTHROUGH | fuse.FOPEN_DIRECT_IO, id, false
			}
			return fuse.FOPEN_PASSTHROUGH, id, false
		}
	}
	if o.bits&handleAsFile == 0 || toDaemon {
		return fuse.FOPEN_DIRECT_IO, 0, false
	}
	return 0, 0, true
}

func (t *fileTable) nowCached(file *openFile) {
	t.mu.Lock()
	defer t.mu.Unlock()
	file.cached++
}

func (t *fileTable) isCached(file *openFile) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return file.cached > 0
}

// openFinished opens a finished file: it never changes, so the kernel keeps
// what it read.
func (f *FS) openFinished(o opening, out *fuse.OpenOut) error {
	info, err := f.storeInfo(o.node)
	switch {
	case err != nil:
		return err
	case info.Dir:
		return syscall.EISDIR
	case o.bits&handleWrite != 0:
		return lifecycle.ErrFinished
	}
	h := &handle{key: string(info.Key)}
	if n, ok := f.nodes.get(o.node); ok {
		h.key = n.key
	}
	if _, err := h.content(f.lasting, f); err != nil {
		return err
	}
	o.key = f.nodes.hold(o.node, h.key)
	if err := f.handles.open(o, h); err != nil {
		f.nodes.release(o.key)
		h.closeContent()
		return err
	}
	out.Fh, out.OpenFlags = h.fh, fuse.FOPEN_KEEP_CACHE
	return nil
}

// Create makes an unfinished file and opens it.
func (f *FS) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	return f.status(f.create(in, name, out))
}

func (f *FS) create(in *fuse.CreateIn, name string, out *fuse.CreateOut) error {
	d, err := f.writable(in.NodeId, name)
	if err != nil {
		return err
	}
	if h := f.handles.ofRequest(in.Unique); h != nil {
		a, err := f.attrOf(h.node)
		if err != nil {
			return err
		}
		f.reopen(h, &out.OpenOut)
		return f.spoolEntry(a, &out.EntryOut)
	}
	a, err := f.make(in, d, name)
	if err != nil {
		return err
	}
	if err := f.spoolEntry(a, &out.EntryOut); err != nil {
		return err
	}
	// A new file may be opened for more than its mode allows, and read by who
	// made it.
	o := opening{unique: in.Unique, node: out.NodeId, flags: in.Flags, bits: useOfFlags(in.Flags), uid: in.Uid}
	return f.openSpool(o, callerOf(in.Caller), &out.OpenOut)
}

// make is the file: made now, made by the earlier worker that began this
// request, or, without O_EXCL, there already.
func (f *FS) make(in *fuse.CreateIn, d directory, name string) (lifecycle.Attr, error) {
	exclusive := in.Flags&syscall.O_EXCL != 0
	a, err := f.in.Lookup(d.ino, name)
	if err == nil {
		_, begun := f.mem.begun(in.Unique, opCreate)
		switch {
		case a.Kind == spool.Dir:
			return a, syscall.EISDIR
		case exclusive && !begun:
			return a, syscall.EEXIST
		}
		return a, nil
	}
	f.mem.begin(in.Unique, opCreate, 0)
	a, err = f.in.Create(d.ino, name, in.Mode&0o7777&^f.cfg.Umask, callerOf(in.Caller))
	switch {
	case errors.Is(err, lifecycle.ErrExist) && !exclusive:
		return a, lifecycle.ErrFinished
	case errors.Is(err, syscall.EEXIST) && !exclusive:
		return f.in.Lookup(d.ino, name)
	}
	return a, err
}

// Flush is close(2), once for every descriptor of a handle.
func (f *FS) Flush(_ <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	if h := f.handles.get(in.Fh); h != nil && h.file != nil && h.has(handleWrite) {
		f.in.Flushed(h.file.ino)
	}
	return fuse.OK
}

// Release ends a handle, some time after its last close. The slot goes last:
// if this worker dies before, the next one counts the handle again and gets
// the RELEASE again.
func (f *FS) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	h := f.handles.get(in.Fh)
	if h == nil {
		return
	}
	switch {
	case h.file != nil:
		f.files.release(f, h, h.bits())
		f.in.ReleaseFile(h.file.ino, h.use())
	case h.ctl != nil:
		h.ctl.close()
	default:
		h.closeContent()
	}
	ref := h.slot.key
	f.handles.close(h)
	f.nodes.release(ref)
}

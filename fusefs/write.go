package fusefs

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/internal/fault"
	"github.com/sinkfs/sinkfs/lifecycle"
)

// Write is what the kernel does not do itself: everything without
// passthrough, and with it the handles of streams that are not O_APPEND. The
// kernel sends one WRITE at a time for an inode.
//
// An interrupt is ignored, but by triggers: a write that was applied must say
// so.
func (f *FS) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	h := f.handles.get(in.Fh)
	switch {
	case h == nil:
		return 0, f.status(errHandle)
	case h.ctl != nil:
		ctx, release := f.interruptible(in.Caller, cancel)
		defer release()
		n, err := h.ctl.write(ctx, data)
		return uint32(n), f.status(err)
	case h.file == nil:
		return 0, f.status(h.notWritten())
	}
	h.file.mu.Lock()
	defer h.file.mu.Unlock()
	var n int
	var err error
	if h.has(handleAsFile) {
		n, err = h.file.writeAt(data, int64(in.Offset))
	} else {
		n, err = h.appendTo(in, data)
	}
	if ferr := fault.Hit(fault.WriteApplied); ferr != nil {
		return 0, f.status(ferr)
	}
	if n > 0 {
		// What was applied is reported; the error comes with the next write.
		err = f.written(h, in)
	}
	return uint32(n), f.status(err)
}

func (h *handle) notWritten() error {
	if spaceOf(h.node) == spaceSpool {
		return fmt.Errorf("file of the handle: %w", errUnknownNode)
	}
	return errHandle
}

// written does what follows bytes that reached the spool file.
func (f *FS) written(h *handle, in *fuse.WriteIn) error {
	ino := h.file.ino
	f.in.Wrote(ino)
	if in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		if err := f.killPrivileges(ino); err != nil {
			return err
		}
	}
	if in.Flags&(syscall.O_SYNC|syscall.O_DSYNC) != 0 {
		f.slow()
		return f.in.Sync(ino)
	}
	return nil
}

// killPrivileges is the daemon's part of HANDLE_KILLPRIV_V2.
func (f *FS) killPrivileges(ino uint64) error {
	a, err := f.in.Attr(ino)
	if err != nil {
		return err
	}
	if mode, ok := withoutPrivileges(a.Stat.Mode & 0o7777); ok {
		_, err = f.in.SetAttr(ino, lifecycle.SetAttr{Mode: &mode})
	}
	return err
}

// writeAt writes to a file that is not finished: anything goes until it is
// closed. Doing it twice changes nothing. o.mu is held.
func (o *openFile) writeAt(data []byte, off int64) (int, error) {
	fd, err := o.descriptor(&o.writes, syscall.O_WRONLY)
	if err != nil {
		return 0, err
	}
	return writeAll(data, func(rest []byte, done int) (int, error) { return syscall.Pwrite(fd, rest, off+int64(done)) })
}

// appendTo appends to a stream. An O_APPEND write (by the flags of the WRITE)
// goes to the end whatever its offset, which is stale once a base has moved.
// Any other must be where the handle stands or at the end; elsewhere it would
// overwrite.
//
// A write that was sent to an earlier worker too is not judged again, and only
// what the note says is missing is written. o.mu is held.
func (h *handle) appendTo(in *fuse.WriteIn, data []byte) (int, error) {
	o := h.file
	fd, err := o.descriptor(&o.adds, syscall.O_WRONLY|syscall.O_APPEND)
	if err != nil {
		return 0, err
	}
	size, err := sizeOf(fd)
	if err != nil {
		return 0, err
	}
	unique, off, done := in.Unique&^resentBit, int64(in.Offset), 0
	if before, noted := o.slot.noted(unique); noted && resent(in.Unique) {
		done = int(min(max(0, size-before), int64(len(data))))
	} else {
		base, _ := o.fs.in.Extent(o.ino)
		if in.Flags&syscall.O_APPEND == 0 && !h.standsAt(off, size-base) {
			return 0, fmt.Errorf("write at %d: %w", off, errNotAppended)
		}
		o.slot.note(unique, size)
	}
	n, err := writeAll(data[done:], func(rest []byte, _ int) (int, error) { return syscall.Write(fd, rest) })
	done += n
	if done > 0 {
		h.slot.pos.Store(off + int64(done))
		h.clear(handleAtZero)
		h.set(handleWrote)
	}
	return done, err
}

// standsAt says that a write at off continues what the handle wrote, or what
// the stream holds.
func (h *handle) standsAt(off, end int64) bool {
	b := h.bits()
	return off == end || b&handleWrote != 0 && off == h.slot.pos.Load() || b&handleAtZero != 0 && off == 0
}

func sizeOf(fd int) (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	return st.Size, nil
}

// writeAll writes until all is written or the first error.
func writeAll(data []byte, write func(rest []byte, done int) (int, error)) (int, error) {
	done := 0
	for done < len(data) {
		n, err := write(data[done:], done)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return done, err
		case n == 0:
			return done, syscall.EIO
		default:
			done += n
		}
	}
	return done, nil
}

// Fsync makes the spool file durable and publishes nothing. All writers of
// the inode wait for it, so it does no more.
func (f *FS) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	h := f.handles.get(in.Fh)
	if h == nil {
		return f.status(errHandle)
	}
	if h.file == nil {
		if spaceOf(h.node) == spaceSpool {
			return f.status(h.notWritten())
		}
		return fuse.OK
	}
	f.slow()
	return f.status(f.in.Sync(h.file.ino))
}

// Fallocate works on files. A stream grows by being written: only a hint that
// changes nothing passes. Never EOPNOTSUPP, for which glibc would write NULs.
func (f *FS) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	h := f.handles.get(in.Fh)
	switch {
	case h == nil:
		return f.status(errHandle)
	case h.file == nil:
		return f.status(h.notWritten())
	case !h.has(handleAsFile):
		if in.Mode == unix.FALLOC_FL_KEEP_SIZE {
			return fuse.OK
		}
		return fuse.EPERM
	}
	o := h.file
	o.mu.Lock()
	defer o.mu.Unlock()
	fd, err := o.descriptor(&o.writes, syscall.O_WRONLY)
	if err == nil {
		err = unix.Fallocate(fd, in.Mode, int64(in.Offset), int64(in.Length))
		f.in.Wrote(o.ino)
	}
	return f.status(err)
}

package fusefs

import (
	"context"
	"fmt"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle"
	"github.com/sinkfs/sinkfs/lifecycle/catalog"
)

// Read reads what the kernel does not read itself.
func (f *FS) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	h := f.handles.get(in.Fh)
	if h == nil {
		return nil, f.status(errHandle)
	}
	var res fuse.ReadResult
	var err error
	switch {
	case h.ctl != nil:
		ctx, release := f.interruptible(in.Caller, cancel)
		defer release()
		res, err = h.ctl.read(ctx, int64(in.Offset), buf)
	case h.file != nil:
		if in.ReadFlags&fuse.READ_LOCKOWNER == 0 && !h.has(handleAsFile) && h.file.slot.backing.Load() != 0 {
			// For the page cache, by splice(2) and its kin: the kernel would
			// keep a last page that it does not renew when it appends itself.
			return nil, fuse.EINVAL
		}
		res, err = h.readSpool(int64(in.Offset), buf)
	case h.key != "":
		res, err = f.readFinished(cancel, in, h, buf)
	default:
		err = fmt.Errorf("file of the handle: %w", errUnknownNode)
	}
	if err != nil {
		return nil, f.status(err)
	}
	return res, fuse.OK
}

// readSpool reads an unfinished file: a stream from its base on. What was
// finished and given back is an error, never zeros.
func (h *handle) readSpool(off int64, buf []byte) (fuse.ReadResult, error) {
	if h.has(handleNoRead) {
		return nil, lifecycle.ErrUnfinished
	}
	fd, err := h.file.reader()
	if err != nil {
		return nil, err
	}
	base, released := h.file.fs.in.Extent(h.file.ino)
	if base+off < released {
		size, err := sizeOf(fd)
		if err != nil {
			return nil, err
		}
		if base+off < size {
			return nil, fmt.Errorf("read at %d, kept from %d on: %w", off, released-base, errReleased)
		}
	}
	n, err := pread(fd, buf, base+off)
	if err != nil {
		return nil, err
	}
	return fuse.ReadResultData(buf[:n]), nil
}

func pread(fd int, buf []byte, off int64) (int, error) {
	for {
		n, err := syscall.Pread(fd, buf, off)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

func (f *FS) readFinished(cancel <-chan struct{}, in *fuse.ReadIn, h *handle, buf []byte) (fuse.ReadResult, error) {
	c, err := h.content(f.lasting, f)
	if err != nil {
		return nil, err
	}
	if fd, ok := c.Fd(); ok {
		return fuse.ReadResultFd(fd, int64(in.Offset), len(buf)), nil
	}
	ctx, release := f.interruptible(in.Caller, cancel)
	defer release()
	n, err := c.ReadAt(ctx, buf, int64(in.Offset))
	if err != nil {
		return nil, err
	}
	return fuse.ReadResultData(buf[:n]), nil
}

// content is the finished file, opened anew by its key when an earlier worker
// had it.
func (h *handle) content(ctx context.Context, f *FS) (*catalog.File, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.finished == nil {
		f.asksStore()
		ctx, cancel := context.WithTimeout(ctx, listPatience)
		defer cancel()
		c, err := f.cat.Open(ctx, backend.Key(h.key))
		if err != nil {
			return nil, err
		}
		h.finished = c
	}
	return h.finished, nil
}

func (h *handle) closeContent() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.finished != nil {
		_ = h.finished.Close() // nothing was written
		h.finished = nil
	}
}

// Lseek answers SEEK_DATA and SEEK_HOLE; the kernel does the others.
func (f *FS) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	h := f.handles.get(in.Fh)
	if h == nil {
		return f.status(errHandle)
	}
	var off int64
	var err error
	switch {
	case h.file != nil && h.has(handleAsFile):
		off, err = h.file.seek(int64(in.Offset), int(in.Whence))
	case h.file != nil:
		off, err = h.file.seekStream(int64(in.Offset), int(in.Whence))
	case h.key != "":
		var info backend.Info
		if info, err = f.storeInfo(h.node); err == nil {
			off, err = seekIn(int64(in.Offset), 0, info.Size, int(in.Whence))
		}
	default:
		err = syscall.EINVAL
	}
	if err != nil {
		return f.status(err)
	}
	out.Offset = uint64(off)
	return fuse.OK
}

func (o *openFile) seek(off int64, whence int) (int64, error) {
	fd, err := o.reader()
	if err != nil {
		return 0, err
	}
	return unix.Seek(fd, off, whence)
}

// seekStream sees one hole: what was released.
func (o *openFile) seekStream(off int64, whence int) (int64, error) {
	fd, err := o.reader()
	if err != nil {
		return 0, err
	}
	size, err := sizeOf(fd)
	if err != nil {
		return 0, err
	}
	base, released := o.fs.in.Extent(o.ino)
	return seekIn(off, max(0, released-base), size-base, whence)
}

// seekIn is lseek in a file whose bytes are [from, size).
func seekIn(off, from, size int64, whence int) (int64, error) {
	switch {
	case off < 0 || off >= size:
		return 0, syscall.ENXIO
	case whence == unix.SEEK_DATA && from >= size:
		return 0, syscall.ENXIO
	case whence == unix.SEEK_DATA:
		return max(off, from), nil
	case whence == unix.SEEK_HOLE && off < from:
		return off, nil
	case whence == unix.SEEK_HOLE:
		return size, nil
	}
	return 0, syscall.EINVAL
}

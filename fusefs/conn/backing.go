package conn

import (
	"syscall"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// From linux/fuse.h.
const (
	devIocBackingOpen  = 0x4010e501 // _IOW(229, 1, struct fuse_backing_map)
	devIocBackingClose = 0x4004e502 // _IOW(229, 2, uint32_t)
)

// OpenBacking registers an open file that the kernel reads and writes itself
// for handles that are answered with the id. It stays open there until
// CloseBacking or the end of the connection.
func (c *Conn) OpenBacking(fd int) (int32, syscall.Errno) {
	m := fuse.BackingMap{Fd: int32(fd)}
	return c.ioctl(devIocBackingOpen, unsafe.Pointer(&m))
}

// CloseBacking forgets an id of OpenBacking, of this worker or of one before.
func (c *Conn) CloseBacking(id int32) syscall.Errno {
	_, errno := c.ioctl(devIocBackingClose, unsafe.Pointer(&id))
	return errno
}

// ioctl is EBADF when the connection is closed: its number may be another
// file's by now.
func (c *Conn) ioctl(request uintptr, arg unsafe.Pointer) (result int32, errno syscall.Errno) {
	raw, err := c.dev.SyscallConn()
	if err != nil {
		return 0, unix.EBADF
	}
	err = raw.Control(func(fd uintptr) {
		var r uintptr
		r, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(arg))
		result = int32(r)
	})
	if err != nil {
		return 0, unix.EBADF
	}
	return result, errno
}

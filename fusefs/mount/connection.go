package mount

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// connection is one FUSE connection and the mount that it belongs to. Only
// the supervisor has one.
type connection struct {
	dev    *os.File // /dev/fuse
	device string   // major:minor of the mount
	path   string
	init   []byte // the kernel's INIT request
	answer []byte // ours, nil until the first worker gave it
	byHand bool   // mount(2); else fusermount3
}

// maxRead must not be less than what workers negotiate as MaxWrite.
const maxRead = 1 << 20

// initWait is how long the INIT request may take, which the kernel queues
// within mount(2).
const initWait = 10 * time.Second

// connect makes the mount and reads the INIT request.
func connect(p *point, o *Options) (*connection, error) {
	c, err := attach(p.path, o)
	if err != nil {
		return nil, err
	}
	table, err := Table()
	if err != nil {
		return nil, errors.Join(err, c.detach(), c.close())
	}
	e, ok := At(table, p.path)
	if !ok || !e.Ours() {
		return nil, errors.Join(fmt.Errorf("%w: the new mount does not show at %s", ErrMountpoint, p.path), c.detach(), c.close())
	}
	c.device = e.Device
	if c.init, err = c.readInit(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: the kernel does not begin to talk: %w", ErrMountpoint, err), c.detach(), c.close())
	}
	return c, nil
}

// attach makes the mount, by mount(2) where that is allowed.
func attach(path string, o *Options) (*connection, error) {
	if os.Geteuid() != 0 {
		return attachByHelper(path, o)
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: /dev/fuse: %w; load the kernel's fuse module, or give the container the device", ErrMountpoint, err)
	}
	data := []string{fmt.Sprintf("fd=%d", fd), "rootmode=40000", fmt.Sprintf("user_id=%d", os.Geteuid()), fmt.Sprintf("group_id=%d", os.Getegid())}
	data = append(data, o.kernelOptions()...)
	if err := unix.Mount(o.Source, path, fsType, o.Flags.Bits, strings.Join(data, ",")); err != nil {
		err = fmt.Errorf("%w: mount(2) at %s: %w%s", ErrMountpoint, path, err, mountHint(err))
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &connection{dev: os.NewFile(uintptr(fd), "/dev/fuse"), path: path, byHand: true}, nil
}

func mountHint(err error) string {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "; it needs CAP_SYS_ADMIN"
	case errors.Is(err, unix.ENODEV):
		return "; load the kernel's fuse module"
	case errors.Is(err, unix.EINVAL):
		return "; the kernel log names the option that it does not take"
	}
	return ""
}

// readInit waits for the INIT request, the first that comes.
func (c *connection) readInit() ([]byte, error) {
	fd := int(c.dev.Fd())
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for deadline := time.Now().Add(initWait); ; {
		n, err := unix.Poll(poll, int(time.Until(deadline).Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR) && time.Now().Before(deadline):
			continue
		case err != nil:
			return nil, err
		case n == 0:
			return nil, os.ErrDeadlineExceeded
		}
		break
	}
	buf := make([]byte, 1<<16) // the kernel refuses buffers smaller than 8 KiB
	n, err := unix.Read(fd, buf)
	if err != nil {
		return nil, err
	}
	const header, opcodeAt, opInit = 40, 4, 26
	if n < header || buf[opcodeAt] != opInit {
		return nil, fmt.Errorf("the first of %d bytes are not an INIT request", n)
	}
	return buf[:n], nil
}

// agree gives the kernel its answer to INIT, or compares with the one it got.
func (c *connection) agree(answer []byte) (bool, error) {
	if c.answer != nil {
		return string(c.answer) == string(answer), nil
	}
	n, err := unix.Write(int(c.dev.Fd()), answer)
	if err == nil && n != len(answer) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return false, fmt.Errorf("answer to the kernel's INIT: %w", err)
	}
	c.answer = answer
	return true, nil
}

// alive says whether the kernel still has the connection: it ends with the
// last user of an unmounted file system, or when somebody aborts it.
func (c *connection) alive() bool {
	poll := []unix.PollFd{{Fd: int32(c.dev.Fd()), Events: unix.POLLIN}}
	_, err := unix.Poll(poll, 0)
	return err == nil && poll[0].Revents&(unix.POLLERR|unix.POLLHUP) == 0
}

// detach takes the mount out of the name space; who has a file open keeps it
// for as long as the connection is served. A mount that is gone is fine.
func (c *connection) detach() error {
	table, err := Table()
	if err != nil {
		return err
	}
	e, ok := At(table, c.path)
	switch {
	case c.device == "": // being made
	case !ok || !mounted(c.device):
		return nil
	case e.Device != c.device:
		return fmt.Errorf("something else (%s) is mounted over %s, unmount that first", e.Type, c.path)
	}
	if !c.byHand {
		return detachByHelper(c.path)
	}
	if err := unix.Unmount(c.path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount of %s: %w", c.path, err)
	}
	return nil
}

// close ends the connection: every call still waiting fails with ENOTCONN
// once the workers have closed it too.
func (c *connection) close() error { return c.dev.Close() }

package mount

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/fusefs/conn"
	"github.com/sinkfs/sinkfs/internal/fault"
)

// Notifications that the library does not know.
const (
	notifyResend   = 7 // Linux 6.9
	notifyIncEpoch = 8 // Linux 6.16
)

// Connect makes fs the one that the connection calls; its Connected is called
// once the connection can be used. On a take-over the requests that an
// earlier worker left unanswered come again, before new ones. An error that
// is ErrDiffers ends the worker: the supervisor mounts anew.
func (w *Worker) Connect(fs conn.FileSystem, opts *fuse.MountOptions) (*conn.Conn, error) {
	c := conn.New(fs, opts)
	answer, err := c.Negotiate(w.init)
	if err != nil {
		return nil, err
	}
	if err := w.link.write(message{Kind: kindAnswer, Init: answer}, nil); err != nil {
		return nil, err
	}
	m, err := w.reply()
	switch {
	case err != nil:
		return nil, err
	case m.Kind == kindDiffers:
		return nil, ErrDiffers
	case m.Kind != kindAgreed:
		return nil, fmt.Errorf("the supervisor said %q about INIT: %s", m.Kind, m.Text)
	}
	c.Attach(w.dev)
	if !w.TakeOver {
		return c, nil
	}
	if err := fault.Hit(fault.HandoverAdopted); err != nil {
		return nil, err
	}
	if err := w.resend(); err != nil {
		return nil, err
	}
	return c, nil
}

// resend has the kernel queue again what an earlier worker read and did not
// answer. It must come before the first read: it would give this worker its
// own requests a second time. Then names that the kernel remembers are
// dropped, where it can.
func (w *Worker) resend() error {
	if err := w.notify(notifyResend); err != nil {
		return fmt.Errorf("%w: this kernel does not send requests again (Linux 6.9 does): %w", ErrDiffers, err)
	}
	if err := w.notify(notifyIncEpoch); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("names that the kernel remembers: %w", err)
	}
	return nil
}

// notify writes a notification without a body: fuse_out_header with the code
// in place of the error and 0 for the request.
func (w *Worker) notify(code uint32) error {
	const size = 16
	var packet [size]byte
	binary.NativeEndian.PutUint32(packet[0:], size)
	binary.NativeEndian.PutUint32(packet[4:], code)
	_, err := unix.Write(int(w.dev.Fd()), packet[:])
	return err
}

package mount

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/internal/fault"
)

// Notifications that the library does not know.
const (
	notifyResend   = 7 // Linux 6.9
	notifyIncEpoch = 8 // Linux 6.16
)

// NewServer gives raw to a server on the connection. raw's Init is called
// once the server can use the connection. On a take-over the requests that an
// earlier worker left unanswered come again, before new ones. An error that
// is ErrDiffers ends the worker: the supervisor mounts anew.
func (w *Worker) NewServer(raw fuse.RawFileSystem, opts *fuse.MountOptions) (*fuse.Server, error) {
	late := &lateInit{RawFileSystem: raw}
	server, fd, answer, err := negotiate(late, w.init, opts)
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
	if err := unix.Dup3(int(w.dev.Fd()), fd, unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("descriptor of the connection: %w", err)
	}
	if err := keepResident(server); err != nil {
		return nil, err
	}
	late.RawFileSystem.Init(server)
	if !w.TakeOver {
		return server, nil
	}
	if err := fault.Hit(fault.HandoverAdopted); err != nil {
		return nil, err
	}
	if err := w.resend(); err != nil {
		return nil, err
	}
	return server, nil
}

// lateInit keeps the file system from using a server that does not have the
// connection yet.
type lateInit struct{ fuse.RawFileSystem }

func (*lateInit) Init(*fuse.Server) {}

// negotiate lets a new server answer an INIT request that comes from a socket
// pair instead of the kernel. fd is the descriptor that it reads requests
// from.
func negotiate(raw fuse.RawFileSystem, request []byte, opts *fuse.MountOptions) (server *fuse.Server, fd int, answer []byte, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, 0, nil, fmt.Errorf("socket pair for INIT: %w", err)
	}
	kernel := os.NewFile(uintptr(pair[1]), "init")
	defer func() { err = errors.Join(err, kernel.Close()) }()
	if _, err := unix.Write(pair[1], request); err != nil {
		return nil, 0, nil, errors.Join(fmt.Errorf("INIT request: %w", err), unix.Close(pair[0]))
	}
	// From here on the server owns pair[0].
	server, err = fuse.NewServer(raw, fmt.Sprintf("/dev/fd/%d", pair[0]), opts)
	if err != nil {
		return nil, 0, nil, fmt.Errorf("FUSE server: %w", err)
	}
	spareProcs()
	answer = make([]byte, 4096)
	n, err := unix.Read(pair[1], answer)
	if err != nil {
		return nil, 0, nil, fmt.Errorf("answer to INIT: %w", err)
	}
	return server, pair[0], answer[:n], nil
}

// spareProcs gives the runtime one P more than the server has readers, which
// is one more than it had Ps when the server was made. A reader waits in a
// system call and keeps its P, unless all Ps are kept so: then the runtime
// takes them away every 20 µs, and wakes a thread for each (retake in
// runtime/proc.go), a fifth of the processor time of a small file. A number
// that was set from outside stays.
var spareProcs = sync.OnceFunc(func() {
	if _, set := os.LookupEnv("GOMAXPROCS"); !set {
		runtime.GOMAXPROCS(max(leastReaders, runtime.GOMAXPROCS(0)) + 2)
	}
})

// leastReaders is minMaxReaders of the server.
const leastReaders = 2

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

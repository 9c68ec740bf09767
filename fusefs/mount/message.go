package mount

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// kind says what a message between supervisor and worker is about.
type kind string

// From the worker.
const (
	kindReady    kind = "ready"    // the instance is open: mount
	kindAnswer   kind = "answer"   // what the worker answers to INIT
	kindServing  kind = "serving"  // requests are answered from now on
	kindGone     kind = "gone"     // the connection ended
	kindProgress kind = "progress" // of the last checkpoint
	kindDetach   kind = "detach"   // all is published that will be: unmount
	kindRefuse   kind = "refuse"   // the connection cannot be taken over
	kindFail     kind = "fail"     // it will end with Code, for the reason Text
	kindDone     kind = "done"     // it will end with Code, as it should
)

// From the supervisor.
const (
	kindServe    kind = "serve"    // descriptor and INIT request of the connection
	kindAgreed   kind = "agreed"   // the answer to INIT is the connection's
	kindDiffers  kind = "differs"  // it is not
	kindDrain    kind = "drain"    // end of input
	kindRetire   kind = "retire"   // another worker takes over
	kindDetached kind = "detached" // the answer to detach
)

// message is one packet. Which fields mean something depends on Kind.
type message struct {
	Kind     kind          `json:"kind"`
	Init     []byte        `json:"init,omitempty"` // INIT request or answer, as on the wire
	TakeOver bool          `json:"take_over,omitempty"`
	Code     int           `json:"code,omitempty"`
	Text     string        `json:"text,omitempty"`
	Bytes    int64         `json:"bytes,omitempty"`
	Parts    int64         `json:"parts,omitempty"`
	NoDrain  bool          `json:"no_drain,omitempty"`
	Gone     bool          `json:"gone,omitempty"` // there is no connection any more
	Timeout  time.Duration `json:"timeout,omitempty"`
	Open     Open          `json:"open,omitzero"`
}

// maxMessage is more than any message takes: INIT is about 100 bytes, and
// texts are cut.
const maxMessage = 64 << 10

// link is one end of the socket pair. Packets keep their borders and order;
// one may carry a descriptor.
type link struct {
	conn *net.UnixConn
	send sync.Mutex
}

// newLink makes a socket pair: one end as a link, the other as a file for the
// other side.
func newLink() (*link, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "worker"), os.NewFile(uintptr(fds[1]), "supervisor")
	l, err := linkOf(ours)
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return l, theirs, nil
}

// linkOf makes a link of a descriptor and closes the file.
func linkOf(f *os.File) (*link, error) {
	conn, err := net.FileConn(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("socket to the other side: %w", err)
	}
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("the descriptor is not a socket of the supervisor"), conn.Close())
	}
	return &link{conn: u}, nil
}

// write sends m and, when file is not nil, a descriptor of it.
func (l *link) write(m message, file *os.File) error {
	if len(m.Text) > maxMessage/8 {
		m.Text = m.Text[:maxMessage/8]
	}
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("message %s: %w", m.Kind, err)
	}
	var rights []byte
	if file != nil {
		// Fd would put the descriptor into blocking mode for good; the
		// kernel's FUSE device is in it anyway.
		rights = unix.UnixRights(int(file.Fd()))
	}
	l.send.Lock()
	defer l.send.Unlock()
	if _, _, err := l.conn.WriteMsgUnix(data, rights, nil); err != nil {
		return fmt.Errorf("message %s: %w", m.Kind, err)
	}
	return nil
}

// read waits for the next message: io.EOF when the other side is gone. The
// descriptor that came with it is close-on-exec.
func (l *link) read() (message, *os.File, error) {
	var m message
	data, rights := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4*4))
	n, oobn, flags, _, err := l.conn.ReadMsgUnix(data, rights)
	if err != nil {
		if errors.Is(err, unix.ECONNRESET) || errors.Is(err, net.ErrClosed) {
			err = io.EOF
		}
		return m, nil, err
	}
	file, err := receivedFile(rights[:oobn])
	if err != nil {
		return m, nil, err
	}
	if flags&unix.MSG_TRUNC != 0 {
		err = errors.New("message is longer than any")
	} else {
		err = json.Unmarshal(data[:n], &m)
	}
	if err != nil && file != nil {
		err = errors.Join(err, file.Close())
	}
	return m, file, err
}

// receivedFile is the one descriptor in a control message, nil when there is
// none.
func receivedFile(oob []byte) (*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	control, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("descriptor of a message: %w", err)
	}
	var file *os.File
	for i := range control {
		fds, err := unix.ParseUnixRights(&control[i])
		if err != nil {
			continue // not a descriptor
		}
		for _, fd := range fds {
			if file == nil {
				file = os.NewFile(uintptr(fd), "fuse")
			} else if err := unix.Close(fd); err != nil {
				return file, fmt.Errorf("surplus descriptor: %w", err)
			}
		}
	}
	return file, nil
}

func (l *link) close() error { return l.conn.Close() }

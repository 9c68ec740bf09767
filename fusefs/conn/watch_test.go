package conn

import (
	"encoding/binary"
	"os"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// ending makes the descriptor one that cannot be read.
type ending struct {
	fuse.RawFileSystem
	conn *Conn
}

func (f *ending) Connected(c *Conn) { f.conn = c }
func (*ending) Disconnected()       {}
func (*ending) OnUnmount()          {}

func (f *ending) Lookup(<-chan struct{}, *fuse.InHeader, string, *fuse.EntryOut) fuse.Status {
	null, err := unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Dup3(null, f.conn.fd, unix.O_CLOEXEC)
		_ = unix.Close(null)
	}
	return fuse.ToStatus(err)
}

// watch may look at the last request when all receivers have ended. It is
// seldom late enough: once in 10 s when its ticks are of 200 ns.
func TestLastRequestIsSeenAfterTheEnd(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(pair[1]) }()
	c := New(&ending{RawFileSystem: fuse.NewDefaultRawFileSystem()}, &fuse.MountOptions{MaxWrite: 1 << 20})
	c.Attach(os.NewFile(uintptr(pair[0]), "kernel"))
	defer func() { _ = c.dev.Close() }()
	lookup := make([]byte, headerSize+2)
	binary.NativeEndian.PutUint32(lookup[0:], uint32(len(lookup)))
	binary.NativeEndian.PutUint32(lookup[4:], 1)
	binary.NativeEndian.PutUint64(lookup[8:], 2)
	binary.NativeEndian.PutUint64(lookup[16:], fuse.FUSE_ROOT_ID)
	lookup[headerSize] = 'a'
	served := make(chan error, 1)
	go func() { served <- c.Serve() }()
	for ended := false; !ended; {
		if _, err := unix.Write(pair[1], lookup); err != nil {
			t.Log(err) // nobody reads any more
		}
		select {
		case err := <-served:
			if ended = true; err == nil { // EBADF
				t.Error("no error")
			}
		case <-time.After(30 * time.Millisecond): // a second receiver slept, and had this one
		}
	}
	select {
	case <-c.woken: // a wake that watch did not come to
	default:
	}
	c.resting.Store(true)
	c.wake() // a panic, if it has nothing to send on
}

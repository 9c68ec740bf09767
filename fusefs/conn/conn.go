// Package conn answers the requests of a FUSE connection.
//
// A goroutine that waits for a request answers it itself. One is enough for a
// caller that waits for each answer, and waits without sleep between its
// calls: to wake a sleeping processor of a virtual machine takes longer than
// most answers. More are started while requests come faster than answers,
// before one that moves many bytes, and when all that there are take long.
//
// The library parses requests, calls the file system and builds the answers
// (fuse.ProtocolServer). Its own loop (fuse.Server) is not used: it has several
// readers sleep in the kernel, and reads into memory that may not be there
// (see buffers).
package conn

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// FileSystem is what a connection calls. Its Init is not.
type FileSystem interface {
	fuse.RawFileSystem
	// Connected is called once, when the connection is negotiated and before
	// the first request.
	Connected(c *Conn)
	// Disconnected is called once, when the connection has ended: nobody waits
	// for the answers to what is still under way.
	Disconnected()
}

// Conn is one connection: Negotiate, Attach and Serve are called once each, in
// this order.
type Conn struct {
	fs      FileSystem
	opts    *fuse.MountOptions
	proto   *fuse.ProtocolServer
	kernel  fuse.InitIn
	dev     *os.File
	fd      int
	buffers buffers

	waiting  atomic.Int32  // receivers that wait for a request; never 0 once the connection has ended
	requests atomic.Uint64 // that came
	resting  atomic.Bool   // watch waits for woken
	woken    chan struct{}
	ended    sync.Once
	over     chan struct{} // closed when the connection has ended
	err      error         // why
	running  sync.WaitGroup
}

// New is a connection that calls fs; nothing is asked of the kernel yet.
func New(fs FileSystem, opts *fuse.MountOptions) *Conn {
	o := *opts
	if o.Logger == nil {
		o.Logger = slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn)
	}
	return &Conn{fs: fs, opts: &o, proto: fuse.NewProtocolServer(fs, &o), woken: make(chan struct{}, 1), over: make(chan struct{})}
}

// Negotiate is the answer to the INIT request, of which the kernel sends one
// in the life of a connection.
func (c *Conn) Negotiate(request []byte) ([]byte, error) {
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&c.kernel)), unsafe.Sizeof(c.kernel)), request)
	answer := make([]byte, 4096)
	n, status := c.proto.HandleRequest([][]byte{request}, [][]byte{answer})
	if !status.Ok() || n == 0 {
		return nil, fmt.Errorf("INIT request of %d bytes: %v", len(request), status)
	}
	return answer[:n], nil
}

// Offers is whether the kernel has a capability, one of fuse.CAP_*.
func (c *Conn) Offers(capability uint64) bool { return c.kernel.Flags64()&capability != 0 }

// Attach gives the descriptor of the connection, which stays the caller's to
// close after Serve.
func (c *Conn) Attach(dev *os.File) {
	c.dev, c.fd = dev, int(dev.Fd())
	c.buffers.init(c.opts.MaxWrite)
	c.fs.Connected(c)
}

// Serve answers requests until the connection ends, and returns after the last
// answer. An error says that it ended in another way than by an unmount.
func (c *Conn) Serve() error {
	c.resting.Store(true)
	c.running.Go(c.watch) // until the end: Wait does not see a moment without receivers before
	c.another()
	c.running.Wait()
	c.fs.OnUnmount()
	return c.err
}

// Slow says that an answer will take long: others must not wait for it.
// Called by the file system, as often as it likes.
func (c *Conn) Slow() { c.another() }

// another starts a receiver unless one waits already.
func (c *Conn) another() {
	if c.waiting.CompareAndSwap(0, 1) {
		c.running.Go(c.receive)
	}
}

// receive answers requests until others do.
func (c *Conn) receive() {
	var w wait
	for {
		r, err := c.next(&w)
		if err != nil {
			c.end(err) // and waits for ever: nobody starts another
			return
		}
		c.waiting.Add(-1)
		c.requests.Add(1)
		c.wake()
		if r.moves() || w.behind > manyBehind {
			c.another()
		}
		c.answer(r)
		if !c.stay(&w) {
			return
		}
	}
}

const (
	// manyBehind is how many requests in a row have others behind them when
	// more come than one receiver answers. RELEASE, which its caller does not
	// wait for, has one.
	manyBehind = 2
	// oftenSpare is how many requests in a row come while another receiver
	// waits for one when there are more receivers than callers.
	oftenSpare = 16
)

// mostWaiting receivers have a processor each.
var mostWaiting = int32(min(max(2, processors), 16))

// stay is whether the receiver is of use.
func (c *Conn) stay(w *wait) bool {
	for {
		others := c.waiting.Load()
		if others == 0 {
			w.spare = 0
		} else if w.spare++; w.spare > oftenSpare || others >= mostWaiting {
			return false
		}
		if c.waiting.CompareAndSwap(others, others+1) {
			return true
		}
	}
}

func (c *Conn) isOver() bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

// end is called by each receiver that waits when the connection ends.
func (c *Conn) end(err error) {
	c.ended.Do(func() {
		// ECONNABORTED: ended by way of fusectl.
		if !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ECONNABORTED) {
			c.err = fmt.Errorf("next request: %w", err)
		}
		close(c.over)
		c.fs.Disconnected()
	})
}

package conn

import (
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// spinFor is how long the next request is waited for without sleep. To wake a
// sleeping processor of a virtual machine takes as long, unless its kernel
// does the same (haltpoll; its own limit is 200 µs).
const spinFor = 50 * time.Microsecond

// processors are those that this process may use, also by its cgroup.
var processors = min(runtime.NumCPU(), runtime.GOMAXPROCS(0))

// alone: while this process spins, its callers cannot run.
var alone = processors == 1

// request is one of the kernel, and the place for its answer.
type request struct {
	in, out [1][]byte // of small and reply, or of larger buffers
	large   []byte    // goes back to the buffers
	small   [8 << 10]byte
	reply   [8 << 10]byte
}

var freeRequests sync.Pool

// wait is what a receiver knows of its last requests.
type wait struct {
	soon   bool // the last one came soon
	behind int  // how many in a row had others behind them
	spare  int  // how many in a row came while other receivers waited
}

// next waits for a request.
func (c *Conn) next(w *wait) (*request, error) {
	buf, err := c.buffer()
	if err != nil {
		return nil, err
	}
	n, err := c.read(buf, w)
	if err != nil {
		c.buffers.put(buf)
		return nil, err
	}
	r, ok := freeRequests.Get().(*request)
	if !ok {
		r = new(request)
	}
	if n <= len(r.small) {
		r.in[0] = r.small[:copy(r.small[:], buf[:n])]
		c.buffers.put(buf)
	} else {
		r.in[0], r.large = buf[:n], buf
	}
	r.out[0] = r.reply[:]
	if need := answerSize + r.payload(); need > len(r.reply) {
		r.out[0] = c.buffers.answer(need)
	}
	return r, nil
}

// lookAgain is how often who waits for memory looks for it.
const lookAgain = 10 * time.Millisecond

// buffer waits for memory to read into. That there is none does not end the
// connection: one receiver would be gone, and the others would answer for a
// file system that thinks that it is over. But if it has ended then somebody
// must notice, for the calls that hold all memory to end.
func (c *Conn) buffer() ([]byte, error) {
	for said := false; ; {
		buf, err := c.buffers.get()
		if err == nil {
			return buf, nil
		}
		if !said && !errors.Is(err, errOut) {
			c.opts.Logger.Printf("trying again: %v", err)
			said = true
		}
		if c.polls(0) { // POLLERR comes unasked
			return nil, unix.ENODEV
		}
		<-time.After(lookAgain)
	}
}

func (c *Conn) read(buf []byte, w *wait) (int, error) {
	begun := time.Now()
	atOnce := c.there()
	// With a second receiver asleep in the kernel a request would wake that
	// one, whoever takes it.
	for there := atOnce; w.soon && !there && c.waiting.Load() == 1 && time.Since(begun) < spinFor; {
		there = c.there()
	}
	for {
		n, err := unix.Read(c.fd, buf)
		switch err {
		case nil:
			w.soon = !alone && time.Since(begun) < 2*spinFor
			if atOnce && c.there() {
				w.behind++
			} else {
				w.behind = 0
			}
			return n, nil
		case unix.EINTR, unix.EAGAIN, unix.ENOENT: // ENOENT: its caller was interrupted meanwhile
		default:
			return 0, err
		}
	}
}

// there is whether a request waits.
func (c *Conn) there() bool { return c.polls(unix.POLLIN) }

func (c *Conn) polls(events int16) bool {
	fds := [1]unix.PollFd{{Fd: int32(c.fd), Events: events}}
	n, err := unix.Poll(fds[:], 0)
	return n > 0 && err == nil
}

// Opcodes (linux/fuse.h) whose answers may be long, and those whose callers
// may be gone before the answer.
const (
	opRead        = 15
	opRelease     = 18
	opGetXattr    = 22
	opListXattr   = 23
	opReadDir     = 28
	opReleaseDir  = 29
	opInterrupt   = 36
	opIoctl       = 39
	opReadDirPlus = 44
)

const (
	headerSize = 40  // struct fuse_in_header
	answerSize = 512 // struct fuse_out_header and the longest struct after it
	manyBytes  = 32 << 10
)

func (r *request) header() (opcode uint32, unique uint64) {
	in := r.in[0]
	if len(in) < headerSize {
		return 0, 0
	}
	return binary.NativeEndian.Uint32(in[4:]), binary.NativeEndian.Uint64(in[8:])
}

// payload is how long the answer may be beside its structs.
func (r *request) payload() int {
	in := r.in[0]
	at := 0
	switch op, _ := r.header(); op {
	case opRead, opReadDir, opReadDirPlus:
		at = headerSize + 16 // fuse_read_in.size
	case opGetXattr, opListXattr:
		at = headerSize // fuse_getxattr_in.size
	case opIoctl:
		at = headerSize + 28 // fuse_ioctl_in.out_size
	}
	if at == 0 || len(in) < at+4 {
		return 0
	}
	return int(binary.NativeEndian.Uint32(in[at:]))
}

// moves is whether the bytes of the request or its answer take longer than to
// wake another goroutine.
func (r *request) moves() bool {
	return len(r.in[0]) > manyBytes || len(r.out[0]) > manyBytes
}

// answer calls the file system and tells the kernel what it said.
func (c *Conn) answer(r *request) {
	defer c.free(r)
	op, unique := r.header()
	n, status := c.proto.HandleRequest(r.in[:], r.out[:])
	if n == 0 {
		if status.Ok() {
			return // it wants no answer
		}
		n = refusal(r.out[0], unique, status)
	}
	for {
		switch _, err := unix.Write(c.fd, r.out[0][:n]); err {
		case unix.EINTR, unix.EAGAIN:
			continue
		case nil, unix.ENODEV, unix.ECONNABORTED:
		case unix.ENOENT:
			if op != opInterrupt && op != opRelease && op != opReleaseDir && !c.isOver() {
				c.opts.Logger.Printf("the caller of request %d, operation %d, did not wait for its answer", unique, op)
			}
		default:
			c.opts.Logger.Printf("answer to request %d, operation %d: %v", unique, op, err)
		}
		return
	}
}

// refusal is the answer to what the library does not answer itself.
func refusal(out []byte, unique uint64, status fuse.Status) int {
	const size = 16 // struct fuse_out_header
	binary.NativeEndian.PutUint32(out[0:], size)
	binary.NativeEndian.PutUint32(out[4:], uint32(-int32(status)))
	binary.NativeEndian.PutUint64(out[8:], unique)
	return size
}

func (c *Conn) free(r *request) {
	if r.large != nil {
		c.buffers.put(r.large)
	}
	if len(r.out[0]) != len(r.reply) {
		c.buffers.putAnswer(r.out[0])
	}
	r.in[0], r.out[0], r.large = nil, nil, nil
	freeRequests.Put(r)
}

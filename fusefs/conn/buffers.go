package conn

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// mostLarge bounds the requests of many bytes that are answered at a time,
	// to 64 MiB where each writes 1 MiB.
	mostLarge = 64
	// keptLarge are kept for the next ones.
	keptLarge = 4
	// usual is for what cat(1) and the kernel's read-ahead read at once. Who
	// reads events holds that much while nothing happens, not 1 MiB.
	usual = 128<<10 + answerSize
)

// buffers are what requests are read into. All of their pages are there.
//
// A thread that is killed while it waits for requests still takes one if one
// has just come. Where the buffer must be faulted in first, the kernel gives
// up, for the thread is dying, and answers that request with EIO: it never
// comes again. With resident buffers it lands in the dead worker's hands, and
// is sent again. Two of 900 kills under load failed a caller without this.
type buffers struct {
	size    int
	out     chan struct{} // a place for each that is not here
	spare   chan []byte
	answers [2]sync.Pool // of *[]byte, for what is read: up to usual, and longer
}

func (b *buffers) init(maxWrite int) {
	// fuse_in_header and fuse_write_in come before the bytes.
	b.size = maxWrite + os.Getpagesize()
	b.out, b.spare = make(chan struct{}, mostLarge), make(chan []byte, keptLarge)
}

// errOut: as many buffers are in use as may be.
var errOut = errors.New("too many large requests wait for their answers")

// get is an error when too many are out, or there is no memory for another.
func (b *buffers) get() ([]byte, error) {
	select {
	case b.out <- struct{}{}:
	default:
		return nil, errOut
	}
	select {
	case buf := <-b.spare:
		return buf, nil
	default:
	}
	buf, err := unix.Mmap(-1, 0, b.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		<-b.out
		return nil, fmt.Errorf("memory for a request: %w", err)
	}
	return buf, nil
}

func (b *buffers) put(buf []byte) {
	select {
	case b.spare <- buf:
	default:
		_ = unix.Munmap(buf) // it was mapped by get
	}
	<-b.out
}

// answer is memory for a long answer; it need not be there yet.
func (b *buffers) answer(n int) []byte {
	pool, size := b.answersOf(n)
	if buf, ok := pool.Get().(*[]byte); ok && cap(*buf) >= n {
		return (*buf)[:n]
	}
	return make([]byte, n, max(n, size))
}

func (b *buffers) putAnswer(buf []byte) {
	pool, _ := b.answersOf(cap(buf))
	pool.Put(&buf)
}

func (b *buffers) answersOf(n int) (pool *sync.Pool, size int) {
	if n <= usual {
		return &b.answers[0], usual
	}
	return &b.answers[1], b.size
}

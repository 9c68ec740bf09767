package conn

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// A kill must not make the kernel fault a page in.
func TestReadBuffersAreResident(t *testing.T) {
	pagemap, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Fatal(err)
	}
	defer pagemap.Close()
	var b buffers
	b.init(1 << 20)
	for n := range keptLarge + 2 {
		buf, err := b.get()
		if err != nil || len(buf) < 1<<20 {
			t.Fatalf("buffer %d is of %d bytes: %v", n, len(buf), err)
		}
		page := uintptr(os.Getpagesize())
		for i := uintptr(0); i < uintptr(len(buf)); i += page {
			var entry [8]byte
			at := (uintptr(unsafe.Pointer(&buf[0])) + i) / page
			if _, err := pagemap.ReadAt(entry[:], int64(at*8)); err != nil {
				t.Fatal(err)
			}
			if binary.NativeEndian.Uint64(entry[:])>>63 == 0 {
				t.Fatalf("buffer %d: page %d is not in memory", n, i/page)
			}
		}
		defer b.put(buf)
	}
}

// A caller that reads events holds its answer for as long as nothing happens.
func TestAnswersAreAsLongAsAsked(t *testing.T) {
	var b buffers
	b.init(1 << 20)
	for _, n := range []int{10_000, 128<<10 + answerSize, 128<<10 + answerSize + 1, 1<<20 + answerSize, 5 << 20} {
		for range 3 {
			buf := b.answer(n)
			if len(buf) != n || n <= 128<<10+answerSize && cap(buf) > 160<<10 {
				t.Fatalf("an answer of %d bytes is %d of %d", n, len(buf), cap(buf))
			}
			defer b.putAnswer(buf)
			b.putAnswer(b.answer(n))
		}
	}
}

// A try that failed takes no place from those that come later.
func TestBuffersThatAreOut(t *testing.T) {
	var b buffers
	b.init(1 << 20)
	b.size = 1 << 60 // more than there is
	for range mostLarge {
		if _, err := b.get(); !errors.Is(err, unix.ENOMEM) {
			t.Fatal(err)
		}
	}
	b.size = 1 << 20
	for range mostLarge {
		buf, err := b.get()
		if err != nil {
			t.Fatal(err)
		}
		defer b.put(buf)
	}
	if _, err := b.get(); !errors.Is(err, errOut) {
		t.Errorf("one more: %v, want %v", err, errOut)
	}
}

// Without memory the connection goes on until it has ended.
func TestNoMemoryIsWaitedFor(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(pair[0]) }()
	c := New(&ending{RawFileSystem: fuse.NewDefaultRawFileSystem()}, &fuse.MountOptions{})
	c.fd = pair[0]
	c.buffers.init(1 << 20)
	c.buffers.size = 1 << 60 // more than there is
	ended := make(chan error, 1)
	go func() { _, err := c.buffer(); ended <- err }()
	select {
	case err := <-ended:
		t.Errorf("it has not ended: %v", err)
	case <-time.After(5 * lookAgain):
	}
	if err := unix.Close(pair[1]); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, unix.ENODEV) {
		t.Errorf("it has ended: %v", err)
	}
}

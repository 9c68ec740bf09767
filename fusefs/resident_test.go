package fusefs

import (
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// TestReadBuffersAreResident fails when a new version of go-fuse keeps its
// buffers elsewhere: then killed workers are noticed again, if rarely.
func TestReadBuffersAreResident(t *testing.T) {
	s := &fuse.Server{}
	pool := readPool(s)
	if pool == nil {
		t.Fatal("the server has no pool of read buffers")
	}
	const size = 1 << 20
	pool.New = func() any {
		b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if !keepResident(s) {
		t.Fatal("not replaced")
	}
	b, ok := pool.Get().([]byte)
	if !ok || len(b) != size {
		t.Fatalf("%T", b)
	}
	for i, in := range mincore(t, b) {
		if in&1 == 0 {
			t.Fatalf("page %d is not there", i)
		}
	}
}

func mincore(t *testing.T, b []byte) []byte {
	t.Helper()
	pages := make([]byte, len(b)/blockSize)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unsafe.Pointer(&pages[0])))
	if errno != 0 {
		t.Fatal(errno)
	}
	return pages
}

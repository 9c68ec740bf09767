package mount

import (
	"encoding/binary"
	"os"
	"reflect"
	"sync"
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// initRequest is what a kernel of protocol 7.45 sends.
func initRequest() []byte {
	b := make([]byte, 104)
	for at, v := range map[int]uint32{0: 104, 4: 26, 8: 2, 40: 7, 44: 45, 48: 131072, 52: ^uint32(0), 56: ^uint32(0)} {
		binary.NativeEndian.PutUint32(b[at:], v)
	}
	return b
}

func TestReadBuffersAreResident(t *testing.T) {
	server, _, answer, err := negotiate(fuse.NewDefaultRawFileSystem(), initRequest(), &fuse.MountOptions{MaxWrite: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if len(answer) < 40 {
		t.Fatalf("answer to INIT is %d bytes", len(answer))
	}
	if err := keepResident(server); err != nil {
		t.Fatal(err)
	}
	pool := (*sync.Pool)(unsafe.Pointer(reflect.ValueOf(server).Elem().FieldByName("readPool").UnsafeAddr()))
	pagemap, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Fatal(err)
	}
	defer pagemap.Close()
	for n := range 4 { // the pool's own one, and fresh ones
		buf, ok := pool.Get().([]byte)
		if !ok || len(buf) < 1<<20 {
			t.Fatalf("buffer %d is %T of %d bytes", n, buf, len(buf))
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
	}
}

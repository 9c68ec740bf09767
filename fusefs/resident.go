package fusefs

import (
	"reflect"
	"sync"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// A worker that is killed must not be noticed, but the kernel has a gap: the
// SIGKILL wakes a thread that waits in read(2) on /dev/fuse, the thread takes
// a request that has just come, and if a page of its buffer was never touched,
// the page cannot be made for a dying process. The request then ends with EIO
// instead of waiting for the next worker (seen once in 400 kills under load).
// So the buffers that the server reads into are touched when they are made.

// readPool is where the server takes the buffers from that it reads requests
// into; nil when this version of go-fuse has none there.
func readPool(s *fuse.Server) *sync.Pool {
	field := reflect.ValueOf(s).Elem().FieldByName("readPool")
	if !field.IsValid() || field.Type() != reflect.TypeFor[sync.Pool]() {
		return nil
	}
	return (*sync.Pool)(unsafe.Pointer(field.UnsafeAddr()))
}

// keepResident is called before the server serves. Buffers that were made
// before are dropped.
func keepResident(s *fuse.Server) bool {
	pool := readPool(s)
	if pool == nil || pool.New == nil {
		return false
	}
	untouched := pool.New
	*pool = sync.Pool{New: func() any {
		buf := untouched()
		if b, ok := buf.([]byte); ok {
			touch(b)
		}
		return buf
	}}
	return true
}

func touch(b []byte) {
	for i := 0; i < len(b); i += blockSize {
		b[i] = 0
	}
	if len(b) > 0 {
		b[len(b)-1] = 0
	}
}

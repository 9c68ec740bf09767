package mount

import (
	"errors"
	"os"
	"reflect"
	"sync"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// keepResident has the server read requests into memory that is there
// already.
//
// A thread that is killed while it waits for requests still takes one if one
// has just come. Where the buffer must be faulted in first, the kernel gives
// up, for the thread is dying, and answers that request with EIO: it never
// comes again. With resident buffers it lands in the dead worker's hands, and
// is sent again. Two of 900 kills under load failed a caller without this.
//
// The library has no say for it in its API, so its pool of buffers is reached
// from outside; a test notices when a new version has another one.
func keepResident(server *fuse.Server) error {
	field := reflect.ValueOf(server).Elem().FieldByName("readPool")
	if !field.IsValid() || field.Type() != reflect.TypeFor[sync.Pool]() {
		return errors.New("the FUSE library keeps its buffers elsewhere now: a kill may fail a call")
	}
	pool := (*sync.Pool)(unsafe.Pointer(field.UnsafeAddr()))
	fresh := pool.New
	pool.New = func() any { return touch(fresh()) }
	pool.Put(touch(pool.Get())) // the one that read INIT
	return nil
}

// touch writes to every page of a new buffer.
func touch(buffer any) any {
	if b, ok := buffer.([]byte); ok {
		for i := 0; i < len(b); i += os.Getpagesize() {
			b[i] = 0
		}
		b[len(b)-1] = 0
	}
	return buffer
}

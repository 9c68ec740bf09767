package fusefs_test

import (
	"context"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/fusefs"
	"github.com/sinkfs/sinkfs/lifecycle"
)

// TestStoreThatDoesNotAnswer calls the file system as the server would: a
// store that hangs must not keep programs from making files.
func TestStoreThatDoesNotAnswer(t *testing.T) {
	var hangs atomic.Bool
	store := mem.New(mem.Options{Before: func(ctx context.Context, _ mem.Op, _ backend.Key) error {
		if !hangs.Load() {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}})
	in, err := lifecycle.Open(t.Context(), lifecycle.Config{StateDir: t.TempDir(), Store: store, Target: "mem"})
	must(t, err)
	defer func() { must(t, in.Close()) }()
	fs, err := fusefs.New(t.Context(), fusefs.Config{Instance: in})
	must(t, err)
	defer fs.Disconnected()
	hangs.Store(true)

	lookup := func(dir uint64, name string) fuse.Status {
		return fs.Lookup(nil, &fuse.InHeader{NodeId: dir}, name, &fuse.EntryOut{})
	}
	started := time.Now()
	if st := lookup(1, "new.log"); st != fuse.ENOENT {
		t.Errorf("lookup %v, want ENOENT", st)
	}
	// The store is not asked again at once: a hundred lookups take no longer.
	for range 100 {
		if st := lookup(1, "other.log"); st != fuse.ENOENT {
			t.Errorf("lookup %v, want ENOENT", st)
		}
	}
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("lookups took %v", took)
	}
	var made fuse.EntryOut
	if st := fs.Mkdir(nil, &fuse.MkdirIn{InHeader: fuse.InHeader{NodeId: 1}, Mode: 0o755}, "d", &made); !st.Ok() {
		t.Errorf("mkdir %v", st)
	}
	if st := lookup(1, "d"); !st.Ok() {
		t.Errorf("lookup of a spool directory %v", st)
	}
}

// TestUnknownNodesAreStale: ids of an earlier connection, or of nothing.
func TestUnknownNodesAreStale(t *testing.T) {
	in, err := lifecycle.Open(t.Context(), lifecycle.Config{StateDir: t.TempDir(), Store: mem.New(mem.Options{}), Target: "mem"})
	must(t, err)
	defer func() { must(t, in.Close()) }()
	fs, err := fusefs.New(t.Context(), fusefs.Config{Instance: in})
	must(t, err)
	defer fs.Disconnected()
	for _, id := range []uint64{2, 1<<61 + 5, 2<<62 + 77, 3 << 62, 3<<62 | 63<<56} {
		for what, st := range map[string]fuse.Status{
			"getattr": fs.GetAttr(nil, &fuse.GetAttrIn{InHeader: fuse.InHeader{NodeId: id}}, &fuse.AttrOut{}),
		} {
			if st != fuse.Status(syscall.ESTALE) {
				t.Errorf("%s of %x: %v, want ESTALE", what, id, st)
			}
		}
	}
	for _, fh := range []uint64{0, 1, 1 << 32, 1<<63 | 5} {
		if _, st := fs.Read(nil, &fuse.ReadIn{Fh: fh}, nil); st != fuse.EBADF {
			t.Errorf("read of handle %x: %v, want EBADF", fh, st)
		}
		if _, st := fs.Write(nil, &fuse.WriteIn{Fh: fh}, nil); st != fuse.EBADF {
			t.Errorf("write of handle %x: %v, want EBADF", fh, st)
		}
		fs.Release(nil, &fuse.ReleaseIn{Fh: fh})
	}
}

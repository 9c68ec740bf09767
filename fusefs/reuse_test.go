package fusefs_test

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/fusefs"
	"github.com/sinkfs/sinkfs/internal/testfs"
	"github.com/sinkfs/sinkfs/lifecycle"
)

// TestNodeOfAnInodeNumberThatCameBack: whoever still means the file before
// gets ESTALE, never the new file.
func TestNodeOfAnInodeNumberThatCameBack(t *testing.T) {
	for _, kind := range []testfs.Kind{testfs.Ext4, testfs.XFS} {
		t.Run(string(kind), func(t *testing.T) {
			files := lifecycle.DefaultSink()
			files.File = true
			in, err := lifecycle.Open(t.Context(), lifecycle.Config{
				StateDir: testfs.New(t, kind, 400), Store: mem.New(mem.Options{}), Target: "mem", Sinks: []lifecycle.Sink{files},
			})
			must(t, err)
			defer func() { must(t, in.Close()) }()
			fs, err := fusefs.New(t.Context(), fusefs.Config{Instance: in})
			must(t, err)
			defer fs.Disconnected()

			before := makeAndRemove(t, fs, "first")
			after := before
			for i := 0; after.Ino != before.Ino || i == 0; i++ {
				if i == 1000 {
					t.Fatal("no inode number comes back")
				}
				if i > 0 {
					remove(t, fs, fmt.Sprint(i-1))
				}
				after = create(t, fs, fmt.Sprint(i))
			}
			if before.NodeId == after.NodeId {
				t.Errorf("both files are node %x", after.NodeId)
			}
			old := fuse.InHeader{NodeId: before.NodeId}
			for what, st := range map[string]fuse.Status{
				"open":    fs.Open(nil, &fuse.OpenIn{InHeader: old}, &fuse.OpenOut{}),
				"getattr": fs.GetAttr(nil, &fuse.GetAttrIn{InHeader: old}, &fuse.AttrOut{}),
				"setattr": fs.SetAttr(nil, &fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: old}}, &fuse.AttrOut{}),
			} {
				if st != fuse.Status(syscall.ESTALE) {
					t.Errorf("%s of the old node: %v, want ESTALE", what, st)
				}
			}
			if st := fs.Open(nil, &fuse.OpenIn{InHeader: fuse.InHeader{NodeId: after.NodeId}}, &fuse.OpenOut{}); !st.Ok() {
				t.Errorf("open of the new node: %v", st)
			}
		})
	}
}

func makeAndRemove(t *testing.T, fs *fusefs.FS, name string) fuse.EntryOut {
	t.Helper()
	made := create(t, fs, name)
	remove(t, fs, name)
	return made
}

// create makes an empty file that nobody has open afterwards.
func create(t *testing.T, fs *fusefs.FS, name string) fuse.EntryOut {
	t.Helper()
	in := fuse.CreateIn{InHeader: fuse.InHeader{NodeId: 1}, Flags: syscall.O_WRONLY | syscall.O_EXCL, Mode: 0o644}
	var out fuse.CreateOut
	if st := fs.Create(nil, &in, name, &out); !st.Ok() {
		t.Fatalf("create %s: %v", name, st)
	}
	fs.Release(nil, &fuse.ReleaseIn{InHeader: fuse.InHeader{NodeId: out.NodeId}, Fh: out.Fh})
	return out.EntryOut
}

func remove(t *testing.T, fs *fusefs.FS, name string) {
	t.Helper()
	if st := fs.Unlink(nil, &fuse.InHeader{NodeId: 1}, name); !st.Ok() {
		t.Fatalf("unlink %s: %v", name, st)
	}
}

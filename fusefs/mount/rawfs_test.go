package mount_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/sinkfs/sinkfs/fusefs/conn"
	"github.com/sinkfs/sinkfs/fusefs/mount"
)

// plan is what a test wants of its supervisor and workers; it travels in the
// environment, files in Dir steer it while it runs.
type plan struct {
	Dir        string // spool files and steering files
	State      string
	Mountpoint string
	Program    string // instead of the test's own
	YoungMax   int
	YoungAge   time.Duration
	Protect    bool
	NonEmpty   bool
	InProcess  bool
	Supervisor bool // it may be replaced too
	BadProbe   bool
	Picky      bool // the probe wants no command line that ends with wrong
	Child      bool // workers start a child each
	Left       int64
}

func (p plan) file(name string) string { return filepath.Join(p.Dir, name) }

func (p plan) has(name string) bool {
	_, err := os.Lstat(p.file(name))
	return err == nil
}

// note is a file that a test waits for.
func (p plan) note(name, text string) {
	temp := p.file(name + ".tmp")
	if os.WriteFile(temp, []byte(text), 0o600) == nil {
		_ = os.Rename(temp, p.file(name))
	}
}

// pass waits until the test takes the barrier away, and says that it waits.
func (p plan) pass(barrier string) {
	for p.has(barrier) {
		p.note(barrier+".reached", "")
		time.Sleep(time.Millisecond)
	}
}

const (
	nodeAppend = 2 // a.log, passed through
	nodeDaemon = 3 // b.log, written by the worker
	nodeLater  = 4 // exists when the steering file "later" does
)

// rawFS is the smallest file system that can be handed over.
type rawFS struct {
	fuse.RawFileSystem
	plan   plan
	conn   *conn.Conn
	memory []byte
	over   bool
	mu     sync.Mutex
	files  map[uint64]*os.File
}

func newRawFS(p plan, w *mount.Worker) *rawFS {
	return &rawFS{RawFileSystem: fuse.NewDefaultRawFileSystem(), plan: p, memory: w.Memory, over: w.TakeOver, files: map[uint64]*os.File{}}
}

// word is a number in the memory of the workers.
func (r *rawFS) word(i int) *atomic.Uint64 {
	if r.memory == nil {
		return new(atomic.Uint64)
	}
	return (*atomic.Uint64)(unsafe.Pointer(&r.memory[8*i]))
}

func (r *rawFS) String() string { return "raw" }

func (r *rawFS) Disconnected() {}

func (r *rawFS) Connected(c *conn.Conn) {
	r.conn = c
	if !r.over {
		r.word(0).Store(0)
	}
}

func (r *rawFS) file(node uint64) *os.File {
	if r.files[node] == nil {
		f, err := os.OpenFile(r.plan.file(fmt.Sprintf("spool.%d", node)), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
		if err != nil {
			return nil
		}
		r.files[node] = f
	}
	return r.files[node]
}

func (r *rawFS) attr(node uint64, a *fuse.Attr) fuse.Status {
	a.Ino, a.Nlink = node, 1
	if node == fuse.FUSE_ROOT_ID {
		a.Mode = syscall.S_IFDIR | 0o755
		return fuse.OK
	}
	a.Mode = syscall.S_IFREG | 0o666
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.file(node)
	if f == nil {
		return fuse.EIO
	}
	info, err := f.Stat()
	if err != nil {
		return fuse.ToStatus(err)
	}
	a.Size = uint64(info.Size())
	return fuse.OK
}

func (r *rawFS) Lookup(_ <-chan struct{}, _ *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	out.SetEntryTimeout(time.Hour)
	switch {
	case name == "a.log":
		out.NodeId = nodeAppend
	case name == "b.log":
		out.NodeId = nodeDaemon
	case name == "later" && r.plan.has("later"):
		out.NodeId = nodeLater
	default:
		out.NodeId = 0 // does not exist, and the kernel remembers
		return fuse.OK
	}
	return r.attr(out.NodeId, &out.Attr)
}

func (r *rawFS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return r.attr(in.NodeId, &out.Attr)
}

func (r *rawFS) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	return r.attr(in.NodeId, &out.Attr)
}

func (r *rawFS) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.OK }

func (r *rawFS) StatFs(<-chan struct{}, *fuse.InHeader, *fuse.StatfsOut) fuse.Status { return fuse.OK }

func (r *rawFS) OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.OK }

func (r *rawFS) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.Fh = in.NodeId
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	if in.NodeId != nodeAppend || in.Flags&syscall.O_APPEND == 0 || r.plan.InProcess || os.Geteuid() != 0 {
		return fuse.OK
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	backing := r.word(0) // the id belongs to the connection
	if backing.Load() == 0 {
		id, errno := r.conn.OpenBacking(int(r.file(in.NodeId).Fd()))
		if errno != 0 {
			r.plan.note("register", errno.Error())
			return fuse.Status(errno)
		}
		backing.Store(uint64(id))
	}
	out.BackingID, out.OpenFlags = int32(backing.Load()), fuse.FOPEN_PASSTHROUGH
	return fuse.OK
}

// Write appends. What it notes before lets the next worker decide whether a
// resent request was applied.
func (r *rawFS) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.file(in.NodeId)
	info, err := f.Stat()
	if err != nil {
		return 0, fuse.ToStatus(err)
	}
	const resent = 1 << 63
	unique, size := r.word(1), r.word(2)
	done := int64(0)
	if in.Unique&resent != 0 && unique.Load() == in.Unique&^resent {
		done = info.Size() - int64(size.Load())
		r.plan.note("resent", fmt.Sprint(done))
	} else {
		unique.Store(0)
		size.Store(uint64(info.Size()))
		unique.Store(in.Unique &^ resent)
	}
	if int(done) < len(data) {
		if _, err := f.Write(data[done:]); err != nil {
			return 0, fuse.ToStatus(err)
		}
	}
	if bytes.Contains(data, []byte("HOLD")) && r.plan.has("hold-answer") {
		r.plan.pass("hold-answer") // applied, not answered
	}
	return uint32(len(data)), fuse.OK
}

func (r *rawFS) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

func (r *rawFS) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	r.mu.Lock()
	f := r.file(in.NodeId)
	r.mu.Unlock()
	return fuse.ToStatus(f.Sync())
}

func (r *rawFS) Release(<-chan struct{}, *fuse.ReleaseIn) {}

func (r *rawFS) ReleaseDir(*fuse.ReleaseIn) {}

func (r *rawFS) Forget(uint64, uint64) {}

// serveRaw is the whole life of a test worker.
func serveRaw(p plan, w *mount.Worker) error {
	p.pass("hold-start")
	switch {
	case p.has("crash"):
		return errors.New("told to crash")
	case p.has("killed"):
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case p.has("fail"):
		return w.Fail(6, "state is damaged")
	case w.Gone:
		p.note("gone", "")
		return obeyRaw(p, w)
	}
	if p.Child {
		child := exec.Command("sleep", "1000")
		if err := child.Start(); err != nil {
			return err
		}
		p.note("child", fmt.Sprint(child.Process.Pid))
	}
	if err := w.Ready(); err != nil {
		return err
	}
	raw := newRawFS(p, w)
	opts := &fuse.MountOptions{MaxWrite: 1 << 20, MaxStackDepth: 2, ExtraCapabilities: 1 << 28}
	if p.has("other") {
		opts.MaxWrite = 1 << 17
	}
	c, err := w.Connect(raw, opts)
	if errors.Is(err, mount.ErrDiffers) {
		return w.Refuse(err.Error())
	}
	if err != nil {
		return err
	}
	go func() {
		if err := w.Serve(c); err != nil {
			p.note("serve-error", err.Error())
		}
	}()
	return obeyRaw(p, w)
}

func obeyRaw(p plan, w *mount.Worker) error {
	var order mount.Order
	for order = range w.Orders() {
		p.note("order", fmt.Sprintf("%+v", order))
		if order.Kind != mount.Drain || !p.has("hold-drain") || order.NoDrain {
			break
		}
		if err := w.Say(mount.Progress{Text: "publishing", Bytes: 7, Parts: 1}); err != nil {
			return err
		}
	}
	if order.Kind == mount.Retire || p.has("deaf") {
		p.pass("deaf")
		return w.Done(0, "")
	}
	if !order.Gone {
		open, err := w.Detach()
		if err != nil {
			return err
		}
		p.note("detached", open.String())
	}
	if p.Left > 0 {
		return w.Done(mount.CodeUnpublished, "7 bytes left")
	}
	return w.Done(0, "")
}

// countLines counts how often each line is there.
func countLines(data []byte) map[string]int {
	seen := map[string]int{}
	for line := range bytes.Lines(data) {
		seen[string(line)]++
	}
	return seen
}

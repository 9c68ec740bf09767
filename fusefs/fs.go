// Package fusefs is the mount as the kernel sees it: raw FUSE calls over the
// name space of what is not finished (package lifecycle) and the finished
// files (package catalog), and the control directory. It is the only package
// that speaks FUSE.
//
// What the kernel holds outlives this process: node ids and file handles are
// derived from durable numbers, and what cannot be derived lies in memory
// that the next worker maps too (memory.go).
package fusefs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/sinkfs/sinkfs/fusefs/conn"
	"github.com/sinkfs/sinkfs/internal/fault"
	"github.com/sinkfs/sinkfs/lifecycle"
	"github.com/sinkfs/sinkfs/lifecycle/catalog"
)

// Config is all that an FS is told.
type Config struct {
	Instance   *lifecycle.Instance
	Notices    *Notices // made before the Instance, its Observer in the Instance's Config
	ConfigText []byte   // what the control file config shows
	Metrics    func() ([]byte, error)
	Version    string

	UID, GID    uint32  // owner of the mount's root, of implied directories and of foreign files
	DirMode     uint32  // of the root and of implied directories; default 0755
	Umask       uint32  // taken from the modes of all that is created
	ControlMode uint32  // of the control file checkpoint; default 0600
	ControlGID  *uint32 // its group; default GID

	Passthrough string // auto, on or off; default auto
	// Memory is a shared mapping that outlives this process, at least
	// MemorySize long; nil when no later worker will take over.
	Memory []byte
	Log    *slog.Logger
}

// FS answers the kernel. It implements conn.FileSystem: all methods are called
// by the connection, concurrently.
//
// Order of use: New, Adopt (only to take a live connection over), then
// conn.New with MountOptions, Serve and Run.
type FS struct {
	in      *lifecycle.Instance
	cat     *catalog.Catalog
	cfg     Config
	log     *slog.Logger
	root    uint64 // spool inode number of the root
	started time.Time

	mem     *memory
	handles *handleTable
	files   fileTable
	nodes   nodeTable
	back    backings
	store   storeGate

	conn    atomic.Pointer[conn.Conn]
	adopted bool
	lasting context.Context //nolint:containedctx // of calls that go on, interrupted or not, until the connection ends
	stop    context.CancelFunc
	waiting sync.WaitGroup // goroutines that wait for the instance on behalf of callers

	triggerMu   sync.Mutex
	triggerFail *triggerFailure // of the last trigger that made no checkpoint
}

var _ conn.FileSystem = (*FS)(nil)

// New prepares an FS; nothing is asked of the kernel yet. Calls take the values
// of ctx, and go on until the connection ends.
func New(ctx context.Context, c Config) (*FS, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Passthrough == "" {
		c.Passthrough = "auto"
	}
	if c.DirMode == 0 {
		c.DirMode = 0o755
	}
	if c.ControlMode == 0 {
		c.ControlMode = 0o600
	}
	if c.ControlGID == nil {
		c.ControlGID = &c.GID
	}
	if c.Notices == nil {
		c.Notices = NewNotices()
	}
	if c.Instance == nil {
		return nil, errors.New("no instance to serve")
	}
	mem, err := newMemory(c.Memory)
	if err != nil {
		return nil, fmt.Errorf("memory of the mount: %w", err)
	}
	f := &FS{
		in: c.Instance, cat: c.Instance.Catalog(), cfg: c, log: c.Log,
		root: c.Instance.Root(), started: time.Now(), mem: mem, handles: newHandleTable(mem),
	}
	f.lasting, f.stop = context.WithCancel(context.WithoutCancel(ctx))
	f.files.byIno = map[uint64]*openFile{}
	f.nodes.init(mem)
	f.back.init(f)
	c.Notices.attach(f)
	return f, nil
}

// MountOptions are what the mount must be made with, fit for a take-over: the
// same in every worker of one version.
func (f *FS) MountOptions() *fuse.MountOptions {
	return &fuse.MountOptions{
		Name:          "sinkfs",
		FsName:        "sinkfs",
		MaxWrite:      1 << 20,
		MaxBackground: 64,
		// Spool on overlayfs: one layer more than the default.
		MaxStackDepth: 2,
		// Without HANDLE_KILLPRIV_V2 each write asks for
		// security.capability first. Never CAP_ATOMIC_O_TRUNC: writers run on
		// during OPEN, and a base would land inside a write.
		ExtraCapabilities: fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_READDIRPLUS_AUTO,
		Logger:            slog.NewLogLogger(f.log.Handler(), slog.LevelWarn),
		PanicHandler:      f.panicked,
	}
}

func (f *FS) panicked(what any) fuse.Status {
	f.log.Error("a call panicked", slog.Any("panic", what), slog.String("stack", string(debug.Stack())))
	return fuse.EIO
}

// Init does nothing: Connected does.
func (f *FS) Init(*fuse.Server) {}

// Connected is called when the kernel and the connection have agreed, before
// the first call. Without an Adopt before it the connection is new and nothing
// of the memory means anything.
func (f *FS) Connected(c *conn.Conn) {
	f.conn.Store(c)
	if f.adopted {
		return
	}
	f.mem.reset()
	f.handles.reset()
	f.back.probe()
	mode, uid, gid := f.cfg.DirMode, f.cfg.UID, f.cfg.GID
	if _, err := f.in.SetAttr(f.root, lifecycle.SetAttr{Mode: &mode, UID: &uid, GID: &gid}); err != nil {
		f.log.Warn("mode and owner of the root not set", slog.Any("error", err))
	}
}

// Adopt takes a live connection over: every handle that an earlier worker
// left in the memory is counted and answers again. Called before NewServer,
// once. An error means that the memory is not one that this version can read:
// the connection must be given up.
func (f *FS) Adopt() error {
	if err := f.mem.check(); err != nil {
		return err
	}
	f.adopted = true
	f.back.adopt()
	f.adoptHandles()
	return fault.Hit(fault.HandoverAdopted)
}

// Run gives back the backing files that an earlier worker did not come to, then
// waits until ctx ends or the connection does. It returns at once with an error when passthrough is
// demanded and not to be had.
func (f *FS) Run(ctx context.Context) error {
	if how, why := f.WritePath(); f.cfg.Passthrough == "on" && how != writePassthrough {
		return fmt.Errorf("passthrough is on but cannot be used: %s; use --passthrough=auto or mend it", why)
	}
	f.back.prune()
	select {
	case <-ctx.Done():
	case <-f.lasting.Done():
	}
	return nil
}

// Disconnected is called when the connection has ended: what waits for the
// instance or the store gives up.
func (f *FS) Disconnected() { f.stop() }

// OnUnmount is called after the last request.
func (f *FS) OnUnmount() { f.waiting.Wait() }

// String names the file system for the server.
func (f *FS) String() string { return "sinkfs" }

// SetDebug does nothing: the server logs by MountOptions.
func (f *FS) SetDebug(bool) {}

// interruptible is the context of calls that end when the kernel says that the
// caller was interrupted, or the connection ends. Few do: Go programs
// interrupt their own calls all the time. Such a call may wait for long; its
// context costs a goroutine until it is released.
func (f *FS) interruptible(c fuse.Caller, cancel <-chan struct{}) (ctx context.Context, release func()) {
	f.slow()
	ctx, stop := context.WithCancel(&fuse.Context{Caller: c, Cancel: cancel})
	keep := context.AfterFunc(f.lasting, stop)
	return ctx, func() { keep(); stop() }
}

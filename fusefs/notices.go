package fusefs

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle"
)

// Notices carries what the lifecycle does to names to the kernel, which keeps
// them. It queues: a notice waits for the inode lock of its directory, which a
// call in progress may hold, so nobody else may wait for it.
type Notices struct {
	fs    atomic.Pointer[FS]
	mu    sync.Mutex
	queue []string // paths whose entry is no longer what it was
	wake  chan struct{}
}

// NewNotices is made before the instance is opened.
func NewNotices() *Notices { return &Notices{wake: make(chan struct{}, 1)} }

func (n *Notices) attach(f *FS) { n.fs.Store(f) }

// Observer is what the instance calls.
func (n *Notices) Observer() lifecycle.Observer {
	return lifecycle.Observer{
		Finished: func(_ backend.Key, gone string) {
			// A new name needs no notice: its absence was never believed.
			if gone != "" {
				n.push(gone)
			}
		},
		Forgotten: n.push,
		Removing: func(ino uint64) {
			if f := n.fs.Load(); f != nil {
				f.back.removing(ino)
			}
		},
	}
}

func (n *Notices) push(path string) {
	n.mu.Lock()
	n.queue = append(n.queue, path)
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *Notices) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := n.queue
	n.queue = nil
	return q
}

// run sends what is queued until ctx or the connection ends.
func (n *Notices) run(ctx context.Context, stop <-chan struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-stop:
			return nil
		case <-n.wake:
		}
		for _, path := range n.take() {
			n.send(path)
		}
	}
}

// send makes the kernel look the name up again. It may not know it: ENOENT.
func (n *Notices) send(path string) {
	f := n.fs.Load()
	server := f.server.Load()
	dir, name := backend.Key(path).Split()
	parent, ok := f.dirID(string(dir))
	if server == nil || !ok {
		return
	}
	if st := server.EntryNotify(parent, name); !st.Ok() && st != fuse.ENOENT {
		f.log.Debug("the kernel was not told of a name", slog.String("path", path), slog.Any("error", errors.New(st.String())))
	}
}

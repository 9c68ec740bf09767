package fusefs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/sinkfs/sinkfs/lifecycle"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// controlFile is one open control file.
type controlFile struct {
	fs     *FS
	kind   controlKind
	number uint64
	late   bool // an earlier worker had it: what it read and waited for is lost

	mu      sync.Mutex
	loaded  bool
	content []byte
	pending *awaited // the trigger of this handle that was interrupted

	turn chan struct{} // one reader of events at a time
	sub  *lifecycle.Subscription
	rest []byte // of the event that is being read
}

func newControlFile(f *FS, id uint64) *controlFile {
	k, n := controlOf(id)
	return &controlFile{fs: f, kind: k, number: n, turn: make(chan struct{}, 1)}
}

// openFlags keep the page cache out: a snapshot's size is not known to stat.
func (c *controlFile) openFlags() uint32 {
	if c.kind == controlEvents {
		return fuse.FOPEN_DIRECT_IO | fuse.FOPEN_STREAM | fuse.FOPEN_NONSEEKABLE
	}
	return fuse.FOPEN_DIRECT_IO
}

// load takes the snapshot, or begins to listen.
func (c *controlFile) load() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loaded {
		return nil
	}
	if c.kind == controlEvents {
		c.sub = c.fs.in.Subscribe()
		if c.late {
			c.rest = line(lifecycle.Event{Type: "missed", Message: "the mount process was replaced, events may be missing here"})
		}
		c.loaded = true
		return nil
	}
	content, err := c.fs.snapshot(c.kind, c.number)
	if err != nil {
		return err
	}
	c.content, c.loaded = content, true
	return nil
}

func (c *controlFile) size() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return uint64(len(c.content))
}

func (c *controlFile) read(ctx context.Context, off int64, buf []byte) (fuse.ReadResult, error) {
	if err := c.load(); err != nil {
		return nil, err
	}
	if c.kind == controlEvents {
		n, err := c.readEvents(ctx, buf)
		return fuse.ReadResultData(buf[:n]), err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	if off < int64(len(c.content)) {
		n = copy(buf, c.content[off:])
	}
	return fuse.ReadResultData(buf[:n]), nil
}

// readEvents waits for an event. It ends with the connection or the instance.
func (c *controlFile) readEvents(ctx context.Context, buf []byte) (int, error) {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-c.turn }()
	if len(c.rest) == 0 {
		ev, err := c.sub.Next(ctx)
		switch {
		case errors.Is(err, io.EOF), err != nil && c.fs.isOver():
			return 0, nil
		case err != nil:
			return 0, err
		}
		c.rest = line(ev)
	}
	n := copy(buf, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *controlFile) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sub != nil {
		c.sub.Close()
	}
}

func (f *FS) isOver() bool {
	select {
	case <-f.lasting.Done():
		return true
	default:
		return false
	}
}

// line is a value as one line of JSON.
func line(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Appendf(nil, "{\"error\":%q}\n", err.Error())
	}
	return b.Bytes()
}

// page is a value as JSON that people read too.
func page(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Appendf(nil, "{\"error\":%q}\n", err.Error())
	}
	return b.Bytes()
}

// snapshot is the content of a control file now.
func (f *FS) snapshot(k controlKind, number uint64) ([]byte, error) {
	switch k {
	case controlCheckpoint:
		return f.lastCheckpoint(), nil
	case controlStatus:
		st := f.in.Status()
		st.Version = f.cfg.Version
		st.WritePath, st.WritePathReason = f.WritePath()
		return page(st), nil
	case controlParts:
		var b bytes.Buffer
		err := f.in.Parts(func(p lifecycle.PartStatus) error {
			_, err := b.Write(line(p))
			return err
		})
		return b.Bytes(), err
	case controlManifest:
		m, err := f.in.Manifest(number)
		if err != nil {
			return nil, err
		}
		m.Checkpoint = complete(m.Checkpoint)
		return page(m), nil
	case controlConfig:
		return f.cfg.ConfigText, nil
	case controlMetrics:
		if f.cfg.Metrics == nil {
			return nil, nil
		}
		return f.cfg.Metrics()
	case controlAccount:
		account, err := f.in.Account()
		if err != nil {
			return nil, err
		}
		return page(account), nil
	case controlCheckpoints, controlEvents: // a directory, and what is never whole
	}
	return nil, errUnknownNode
}

// lastCheckpoint is the last checkpoint as JSON, null before the first. A
// trigger that failed before it made one leaves its reason there.
func (f *FS) lastCheckpoint() []byte {
	c, ok := f.in.LastCheckpoint()
	if err := f.lastFailure(); err != nil {
		c, ok = journal.Checkpoint{State: journal.Declined, Error: err.Error()}, true
	}
	if !ok {
		return []byte("null\n")
	}
	return page(complete(c))
}

// complete gives a checkpoint its lists, so that readers find arrays.
func complete(c journal.Checkpoint) journal.Checkpoint {
	if c.LeftOut == nil {
		c.LeftOut = []journal.Excuse{}
	}
	if c.Failed == nil {
		c.Failed = []journal.Failure{}
	}
	return c
}

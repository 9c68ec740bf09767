package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/sinkfs/sinkfs/backend"
)

const (
	firstChunk   = 128 << 10 // what the kernel asks for at a time, and a random read costs
	largestChunk = 4 << 20
	maxChunks    = 3        // behind, at and ahead of a reader
	maxAhead     = 64 << 20 // of all readers together
)

// File is a finished file, open for reading. Safe for concurrent use.
type File struct {
	c    *Catalog
	info backend.Info
	fd   *os.File // nil for remote stores

	running sync.WaitGroup
	mu      sync.Mutex
	closed  bool
	chunks  []*chunk // the latest used last
	size    int64    // of the next chunk of a sequential reader
}

// Open opens the finished file at k. ErrNotExist when that is a directory.
func (c *Catalog) Open(ctx context.Context, k backend.Key) (*File, error) {
	info, err := c.Stat(ctx, k)
	if err != nil {
		return nil, err
	}
	if info.Dir {
		return nil, fmt.Errorf("open %q: it is a directory: %w", string(k), backend.ErrNotExist)
	}
	f := &File{c: c, info: info, size: firstChunk}
	if c.opener != nil {
		if f.fd, err = c.opener.OpenFile(ctx, k); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Fd returns the descriptor of a file of a local store, valid until Close.
func (f *File) Fd() (uintptr, bool) {
	if f.fd == nil {
		return 0, false
	}
	return f.fd.Fd(), true
}

// ReadAt fills p from off; fewer bytes only at the end of the file, and then
// without an error. Readers of a remote store that go forward are read ahead
// of, and they may come a little out of order, as the kernel does.
func (f *File) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	if f.fd != nil {
		n, err := f.fd.ReadAt(p, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return n, fmt.Errorf("read %q: %w: %w", string(f.info.Key), backend.ErrTransient, err)
		}
		return n, nil
	}
	p = p[:max(0, min(int64(len(p)), f.info.Size-off))]
	done := 0
	for done < len(p) {
		from := off + int64(done)
		ch, err := f.chunk(ctx, from, int64(len(p)-done))
		if err != nil {
			return done, err
		}
		n, err := ch.readAt(ctx, p[done:], from)
		f.release(ch)
		if err != nil {
			if errors.Is(err, backend.ErrNotExist) {
				f.c.changed(f.info.Key)
			}
			return done, err
		}
		done += n
	}
	return done, nil
}

// chunk returns the one that holds the byte at off, to be released. It begins
// it if there is none, and the next one when the reader is halfway through.
func (f *File) chunk(ctx context.Context, off, n int64) (*chunk, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, fmt.Errorf("read %q: %w", string(f.info.Key), os.ErrClosed)
	}
	ch := f.find(off)
	if ch == nil {
		if f.find(off-1) == nil {
			f.size = firstChunk // not where anyone was reading
		}
		ch = f.start(ctx, off, max(n, f.size))
	}
	ch.users++
	next := ch.end()
	if off+n > ch.off+ch.size/2 && next < f.info.Size && f.find(next) == nil && f.sequential(ch) {
		f.start(ctx, next, f.size)
	}
	return ch, nil
}

// find returns the chunk with the byte at off and makes it the latest used.
func (f *File) find(off int64) *chunk {
	for i, ch := range f.chunks {
		if ch.off <= off && off < ch.end() {
			copy(f.chunks[i:], f.chunks[i+1:])
			f.chunks[len(f.chunks)-1] = ch
			return ch
		}
	}
	return nil
}

// sequential tells whether the chunk continues another one.
func (f *File) sequential(ch *chunk) bool {
	for _, other := range f.chunks {
		if other.end() == ch.off {
			return true
		}
	}
	return false
}

// start begins to fetch n bytes from off and doubles what comes after.
func (f *File) start(ctx context.Context, off, n int64) *chunk {
	n = min(n, f.info.Size-off)
	if f.c.ahead.Load()+n > maxAhead {
		n = min(n, firstChunk)
	}
	f.size = min(2*f.size, largestChunk)
	f.c.ahead.Add(n)
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	ch := &chunk{c: f.c, key: f.info.Key, off: off, size: n, stop: stop, grown: make(chan struct{})}
	f.makeRoom()
	f.chunks = append(f.chunks, ch)
	f.running.Go(func() {
		defer stop()
		ch.fetch(ctx)
	})
	return ch
}

// makeRoom lets the chunk go that nobody has used for the longest time.
func (f *File) makeRoom() {
	if len(f.chunks) < maxChunks {
		return
	}
	i := slices.IndexFunc(f.chunks, func(ch *chunk) bool { return ch.users == 0 })
	if i >= 0 {
		f.drop(i)
	}
}

func (f *File) drop(i int) {
	f.chunks[i].stop()
	f.c.ahead.Add(-f.chunks[i].size)
	f.chunks = slices.Delete(f.chunks, i, i+1)
}

// release ends the use of a chunk. One that failed is forgotten, so that the
// next read tries again.
func (f *File) release(ch *chunk) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ch.users--
	if i := slices.Index(f.chunks, ch); i >= 0 && ch.failed() {
		f.drop(i)
	}
}

// Close ends the readahead and waits for it.
func (f *File) Close() error {
	f.mu.Lock()
	f.closed = true
	for len(f.chunks) > 0 {
		f.drop(0)
	}
	f.mu.Unlock()
	f.running.Wait()
	if f.fd != nil {
		return f.fd.Close()
	}
	return nil
}

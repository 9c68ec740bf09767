package objects

import (
	"context"
	"io"
	"sync"

	"github.com/sinkfs/sinkfs/backend"
)

// piece reads a buffer until it is closed: the transport may read on when a
// call has failed already, and the buffer holds another part then.
type piece struct {
	alive func()

	mu     sync.Mutex
	left   []byte
	closed bool
}

// Read implements io.Reader.
func (p *piece) Read(to []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return 0, errClosed
	case len(p.left) == 0:
		return 0, io.EOF
	}
	n := copy(to, p.left)
	p.left = p.left[n:]
	p.alive()
	return n, nil
}

// Close implements io.Closer.
func (p *piece) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left, p.closed = nil, true
	return nil
}

// rereader reads a body a second time, piece by piece: on where the last
// piece ended, or from the start again when a piece has to be repeated.
type rereader struct {
	o   backend.Object
	src *Source // nil before the first piece
	off int64
}

// at returns n bytes from off.
func (r *rereader) at(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	if r.src == nil || r.off > off {
		r.close()
		src, err := OpenSource(r.o)
		if err != nil {
			return nil, err
		}
		r.src, r.off = src, 0
	}
	skipped, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(readerWithContext{ctx, r.src}, off-r.off), make([]byte, copyBuffer))
	r.off += skipped
	if err != nil {
		return nil, err
	}
	// Whatever is read of the piece, the next one in order follows only
	// when all of it was.
	r.off = off + n
	return io.NopCloser(io.LimitReader(r.src, n)), nil
}

func (r *rereader) err() error {
	if r.src == nil {
		return nil
	}
	return r.src.Err()
}

func (r *rereader) close() {
	if r.src != nil {
		_ = r.src.Close() // it was only read
	}
}

type readerWithContext struct {
	ctx context.Context //nolint:containedctx // it ends the reads of one call
	r   io.Reader
}

func (r readerWithContext) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}

package objects

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Buffers are the parts in flight of the whole store: what they may take
// together is bounded, whoever reads ahead waits.
type Buffers struct {
	left   *semaphore.Weighted
	memory int64
	size   int64 // of the usual part, which are used again
	pool   sync.Pool
}

// NewBuffers makes buffers of that many bytes together, best for parts of the
// size.
func NewBuffers(memory, size int64) *Buffers {
	return &Buffers{left: semaphore.NewWeighted(memory), memory: memory, size: size}
}

// get waits until n bytes may be taken.
func (b *Buffers) get(ctx context.Context, n int64) ([]byte, error) {
	if err := b.left.Acquire(ctx, n); err != nil {
		return nil, context.Cause(ctx)
	}
	if n == b.size {
		if p, ok := b.pool.Get().(*[]byte); ok {
			return *p, nil
		}
	}
	return make([]byte, n), nil
}

func (b *Buffers) put(p []byte) {
	n := int64(len(p))
	if n == b.size {
		b.pool.Put(&p)
	}
	b.left.Release(n)
}

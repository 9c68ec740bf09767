package s3

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// buffers are the parts in flight of the whole store: what they may take
// together is bounded, whoever reads ahead waits.
type buffers struct {
	left *semaphore.Weighted
	size int64 // of the usual part, which are used again
	pool sync.Pool
}

// get waits until n bytes may be taken.
func (b *buffers) get(ctx context.Context, n int64) ([]byte, error) {
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

func (b *buffers) put(p []byte) {
	n := int64(len(p))
	if n == b.size {
		b.pool.Put(&p)
	}
	b.left.Release(n)
}

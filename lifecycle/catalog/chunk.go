package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/sinkfs/sinkfs/backend"
)

// tries bounds how often a read is begun again where it broke off.
const tries = 4

// chunk is a piece of a file that is being fetched. Its bytes can be read as
// they arrive.
type chunk struct {
	c         *Catalog
	key       backend.Key
	off, size int64
	stop      context.CancelFunc
	users     int // guarded by File.mu

	mu    sync.Mutex
	data  []byte // what has arrived
	err   error
	grown chan struct{} // closed and replaced when data or err change
}

func (ch *chunk) end() int64 { return ch.off + ch.size }

func (ch *chunk) failed() bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return ch.err != nil
}

// readAt waits for the byte at off and returns what has arrived from there.
func (ch *chunk) readAt(ctx context.Context, p []byte, off int64) (int, error) {
	for {
		ch.mu.Lock()
		n := 0
		if at := off - ch.off; at < int64(len(ch.data)) {
			n = copy(p, ch.data[at:])
		}
		err, grown := ch.err, ch.grown
		ch.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (ch *chunk) change(fn func()) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	fn()
	close(ch.grown)
	ch.grown = make(chan struct{})
}

// fetch fills the chunk. It goes on where a connection broke, a few times.
func (ch *chunk) fetch(ctx context.Context) {
	buf := make([]byte, ch.size)
	filled := int64(0)
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval = 100 * time.Millisecond
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := ch.fill(ctx, buf, &filled)
		if err != nil && !errors.Is(err, backend.ErrTransient) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(wait), backoff.WithMaxTries(tries))
	if err != nil {
		err = fmt.Errorf("read %q at %d: %w", string(ch.key), ch.off+filled, err)
		ch.change(func() { ch.err = err })
	}
}

// fill makes one attempt at the rest of buf.
func (ch *chunk) fill(ctx context.Context, buf []byte, filled *int64) error {
	ctx, touch, stop := watch(ctx, ch.c.o.Timeout)
	defer stop()
	r, err := ch.c.store.Open(ctx, ch.key, ch.off+*filled, ch.size-*filled)
	if err != nil {
		return because(ctx, err)
	}
	defer r.Close()
	for *filled < ch.size {
		n, err := r.Read(buf[*filled:])
		if n > 0 {
			touch()
			*filled += int64(n)
			ch.change(func() { ch.data = buf[:*filled] })
		}
		if err == nil || *filled == ch.size {
			continue
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: the object ends early: %w", backend.ErrTransient, io.ErrUnexpectedEOF)
		}
		return because(ctx, err)
	}
	return nil
}

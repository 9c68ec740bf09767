package catalog

import (
	"context"
	"sync"

	"github.com/sinkfs/sinkfs/backend"
)

// flights lets callers that ask the same thing wait for one answer. The zero
// value is ready.
type flights[V any] struct {
	mu sync.Mutex
	m  map[backend.Key]*flight[V]
}

type flight[V any] struct {
	done  chan struct{}
	stale bool // guarded by flights.mu
	value V
	err   error
}

// do calls ask, or joins the call under way, and returns its answer, or ctx's
// error when that ends first: the call goes on for the others and must end by
// itself. keep gets the answer unless the key was forgotten meanwhile.
func (g *flights[V]) do(ctx context.Context, k backend.Key,
	ask func(context.Context) (V, error), keep func(V, error),
) (V, error) {
	g.mu.Lock()
	f := g.m[k]
	if f == nil {
		f = &flight[V]{done: make(chan struct{})}
		if g.m == nil {
			g.m = map[backend.Key]*flight[V]{}
		}
		g.m[k] = f
		go func() {
			f.value, f.err = ask(context.WithoutCancel(ctx))
			g.land(k, f, keep)
		}()
	}
	g.mu.Unlock()
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

func (g *flights[V]) land(k backend.Key, f *flight[V], keep func(V, error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !f.stale {
		delete(g.m, k)
		keep(f.value, f.err)
	}
	close(f.done)
}

// forget makes the answer under way worthless for all who ask from now on.
func (g *flights[V]) forget(k backend.Key) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.m[k]; f != nil {
		f.stale = true
		delete(g.m, k)
	}
}

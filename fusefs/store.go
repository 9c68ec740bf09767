package fusefs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sinkfs/sinkfs/backend"
)

const (
	// patience is how long a lookup waits for the store: a program that
	// creates a file must not hang with it.
	patience = 2 * time.Second
	// pause is how long a store that did not answer is not asked again.
	pause = 2 * time.Second
	// listPatience is for listings: a partial one would be a lie.
	listPatience = 60 * time.Second
)

// storeGate spares callers a store that does not answer.
type storeGate struct {
	mu     sync.Mutex
	closed time.Time // until then nobody asks
}

func (g *storeGate) open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Now().After(g.closed)
}

func (g *storeGate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = time.Now().Add(pause)
}

// asksStore comes before a call asks the store something.
func (f *FS) asksStore() {
	if f.cat.Remote() {
		f.slow()
	}
}

// slow says that a call will take long.
func (f *FS) slow() {
	if c := f.conn.Load(); c != nil { // in tests that call methods there is none
		c.Slow()
	}
}

// brief is the context of a call that asks the store about a name in passing:
// a store that does not answer has nothing there.
func (f *FS) brief() (context.Context, context.CancelFunc) {
	wait := patience
	if !f.store.open() {
		wait = 0
	}
	f.asksStore()
	return context.WithTimeout(f.lasting, wait)
}

// errAbsent: there is no finished file of the name, as far as can be known.
var errAbsent = fmt.Errorf("name in the store: %w", backend.ErrNotExist)

// stat is the finished file or directory at key. A store that cannot be asked
// has nothing: the names of the spool go on working, new ones can be made, and
// the commit never overwrites.
func (f *FS) stat(key string) (backend.Info, error) {
	if known, exists := f.cat.Exists(backend.Key(key)); known && !exists {
		return backend.Info{}, errAbsent
	}
	if !f.store.open() {
		return backend.Info{}, errAbsent
	}
	f.asksStore()
	ctx, cancel := context.WithTimeout(f.lasting, patience)
	defer cancel()
	info, err := f.cat.Stat(ctx, backend.Key(key))
	switch {
	case err == nil, errors.Is(err, backend.ErrNotExist):
		return info, err
	case errors.Is(err, backend.ErrKey):
		return info, errAbsent
	}
	f.store.shut()
	f.log.Warn("the store does not answer lookups; names that only it has are absent until it does",
		slog.String("key", key), slog.Any("error", err))
	return backend.Info{}, errAbsent
}

package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sinkfs/sinkfs/backend"
)

const (
	// maxListed bounds what is remembered of all directories together. What
	// is beyond it in one directory is asked for whenever it is read.
	maxListed = 64 << 10
	// readTime is how long whoever reads a directory in pieces goes on with
	// the listing that the first piece came from.
	readTime = 30 * time.Second
)

// listing is a directory as it was at an instant. It never changes.
type listing struct {
	dir      backend.Key
	at       time.Time
	children []backend.Info // in byte order of the names
	more     bool           // there are others behind these
}

// List calls fn for each finished file and directory in dir, in byte order
// of the names, from the first name greater than after. Where a store holds
// objects below the name of an object, only the object is seen. It stops
// with fn's error.
func (c *Catalog) List(ctx context.Context, dir backend.Key, after string, fn func(name string, i backend.Info) error) error {
	l, err := c.listing(ctx, dir, after)
	if err != nil {
		return err
	}
	for _, i := range l.children[l.from(after):] {
		name := nameIn(dir, i.Key)
		if err := fn(name, i); err != nil {
			return err
		}
		after = name
	}
	if !l.more {
		return nil
	}
	return c.store.List(ctx, dir, after, once(dir, fn))
}

// listing returns one that is new enough to begin with, or to go on with.
func (c *Catalog) listing(ctx context.Context, dir backend.Key, after string) (*listing, error) {
	age := c.o.MaxAge
	if c.opener != nil {
		age = 0
	}
	if after != "" {
		age = readTime
	}
	now := time.Now()
	if l := c.listings.get(dir); l != nil && now.Sub(l.at) < age {
		return l, nil
	}
	if c.opener != nil {
		// Not shared: whoever just made a file there must see it.
		l, err := c.read(ctx, dir, maxListed)
		if err == nil {
			c.listings.put(l)
		}
		return l, err
	}
	if err := c.health.allow(now); err != nil {
		return nil, fmt.Errorf("list %q: %w", string(dir), err)
	}
	return c.lists.do(ctx, dir, func(ctx context.Context) (*listing, error) {
		l, err := c.read(ctx, dir, maxListed)
		c.health.note(err)
		return l, err
	}, func(l *listing, err error) {
		if err == nil {
			c.listings.put(l)
		}
	})
}

var errEnough = errors.New("enough")

func (c *Catalog) read(ctx context.Context, dir backend.Key, most int) (*listing, error) {
	ctx, touch, stop := watch(ctx, c.o.Timeout)
	defer stop()
	l := &listing{dir: dir, at: time.Now()}
	err := c.store.List(ctx, dir, "", once(dir, func(_ string, i backend.Info) error {
		touch()
		if len(l.children) == most {
			l.more = true
			return errEnough
		}
		l.children = append(l.children, i)
		return nil
	}))
	if err != nil && !errors.Is(err, errEnough) {
		return nil, because(ctx, err)
	}
	l.children = slices.Clip(l.children)
	return l, nil
}

// once leaves out what readers must not see, and the directory where an
// object of the same name was told before.
func once(dir backend.Key, fn func(string, backend.Info) error) func(string, backend.Info) error {
	var last string
	return func(name string, i backend.Info) error {
		if name == last || hidden(dir, name) {
			return nil
		}
		last = name
		return fn(name, i)
	}
}

// from returns the index of the first child whose name is greater.
func (l *listing) from(after string) int {
	at, found := l.find(after)
	if found {
		at++
	}
	return at
}

func (l *listing) find(name string) (int, bool) {
	return slices.BinarySearchFunc(l.children, name, func(i backend.Info, name string) int {
		return strings.Compare(nameIn(l.dir, i.Key), name)
	})
}

// listings keeps the latest ones. The zero value is empty.
type listings struct {
	mu    sync.Mutex
	m     map[backend.Key]*listing
	total int
}

func (l *listings) get(dir backend.Key) *listing {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.m[dir]
}

// age is how old the listing of dir is; very old when there is none.
func (l *listings) age(dir backend.Key, now time.Time) time.Duration {
	if n := l.get(dir); n != nil {
		return now.Sub(n.at)
	}
	return 1<<63 - 1
}

func (l *listings) put(n *listing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.m == nil {
		l.m = map[backend.Key]*listing{}
	}
	l.drop(n.dir)
	l.m[n.dir] = n
	l.total += n.weight()
	for l.total > 2*maxListed {
		l.dropOldest()
	}
}

// weight counts the directory too: there may be many empty ones.
func (l *listing) weight() int { return len(l.children) + 8 }

func (l *listings) dropOldest() {
	var oldest *listing
	for _, n := range l.m {
		if oldest == nil || n.at.Before(oldest.at) {
			oldest = n
		}
	}
	l.drop(oldest.dir)
}

func (l *listings) forget(dir backend.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(dir)
}

func (l *listings) drop(dir backend.Key) {
	if old := l.m[dir]; old != nil {
		l.total -= old.weight()
		delete(l.m, dir)
	}
}

// exists answers from the listing of the directory that k is in, if there is
// one made since then.
func (l *listings) exists(k backend.Key, since time.Time) (known, exists bool) {
	_, err, known := l.lookup(k, since)
	return known, known && err == nil
}

// stat knows what is absent and what is a directory. Of a file a listing does
// not tell enough.
func (l *listings) stat(k backend.Key, since time.Time) (info backend.Info, err error, known bool) {
	info, err, known = l.lookup(k, since)
	return info, err, known && (err != nil || info.Dir)
}

func (l *listings) lookup(k backend.Key, since time.Time) (info backend.Info, err error, known bool) {
	dir, name := k.Split()
	n := l.get(dir)
	if n == nil || !n.at.After(since) || hidden(dir, name) {
		return info, nil, false
	}
	at, found := n.find(name)
	switch {
	case found:
		return n.children[at], nil, true
	case n.more && at == len(n.children):
		return info, nil, false
	}
	return info, fmt.Errorf("%q: %w", string(k), backend.ErrNotExist), true
}

// Package catalog is what readers of a mount see: the finished files of the
// target, whoever made them, and the directories between.
//
// The bytes of a finished file never change. Names do: others publish and
// delete, so what a remote store said of a name is believed for a while, and
// our own commits are known at once. A local store is simply asked.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sinkfs/sinkfs/backend"
)

// The names that the mount itself uses, hidden from every listing: the first
// in each directory, the second at the top, where manifests are.
const (
	controlName  = ".sinkfs"
	manifestName = "_sinkfs"
)

// Options of a catalog. Zero values are the defaults.
type Options struct {
	// MaxAge is how long a listing, a directory or an absence of a remote
	// store is believed: 1 s by default. Local stores are asked each time.
	MaxAge time.Duration
	// FileAge is the same for a finished file of ours: 1 min by default. It
	// can only go; while the store is down, it is believed for longer.
	FileAge time.Duration
	// Timeout is how long a remote store may make no progress: 10 s by
	// default.
	Timeout time.Duration
	Log     *slog.Logger
}

// Catalog answers readers. Safe for concurrent use.
type Catalog struct {
	store  backend.Store
	opener backend.FileOpener // nil for remote stores
	o      Options

	entries  entries
	listings listings
	health   health
	stats    flights[backend.Info]
	lists    flights[*listing]
	misses   misses
	looks    listings // for lookups: short, and empty for what is not there
	looked   flights[*listing]
	ahead    atomic.Int64 // bytes of readahead buffers in use
}

// New returns the catalog of a store.
func New(store backend.Store, o Options) *Catalog {
	if o.MaxAge == 0 {
		o.MaxAge = time.Second
	}
	if o.FileAge == 0 {
		o.FileAge = time.Minute
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Catalog{store: store, o: o}
	if store.Properties().Local {
		c.opener, _ = store.(backend.FileOpener)
	}
	c.health.patience = o.Timeout
	c.health.log = o.Log
	return c
}

// Remote is whether an answer may take longer than a disk's.
func (c *Catalog) Remote() bool { return !c.store.Properties().Local }

// Stat returns the finished file or the directory at k; "" is the target
// itself, always a directory. ErrNotExist when there is neither. While a
// remote store is down it answers from memory or with ErrTransient, at once.
func (c *Catalog) Stat(ctx context.Context, k backend.Key) (backend.Info, error) {
	if k == "" {
		return backend.Info{Dir: true}, nil
	}
	if c.opener != nil {
		return c.store.Stat(ctx, k)
	}
	now := time.Now()
	last, known := c.entries.get(k)
	if known && c.holds(k, last, now) {
		return last.answer(k)
	}
	if info, err, known := c.listings.stat(k, now.Add(-c.o.MaxAge)); known {
		return info, err
	}
	if err := c.health.allow(now); err != nil {
		if known && last.info.Owned {
			return last.info, nil
		}
		return backend.Info{}, fmt.Errorf("stat %q: %w", string(k), err)
	}
	if !known && c.absent(ctx, k, now) {
		return backend.Info{}, fmt.Errorf("%q: %w", string(k), backend.ErrNotExist)
	}
	info, err := c.stats.do(ctx, k, func(ctx context.Context) (backend.Info, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, c.o.Timeout, errSilent)
		defer cancel()
		info, err := c.store.Stat(ctx, k)
		err = because(ctx, err)
		c.health.note(err)
		return info, err
	}, func(info backend.Info, err error) { c.learn(k, info, err) })
	if known && last.info.Owned && failed(err) && ctx.Err() == nil {
		return last.info, nil
	}
	return info, err
}

// learn remembers what a store said of a name.
func (c *Catalog) learn(k backend.Key, info backend.Info, err error) {
	switch now := time.Now(); {
	case err == nil && info.Owned && c.opener == nil:
		c.entries.put(k, entry{info: info, until: now.Add(c.o.FileAge)})
	case err == nil:
		c.entries.put(k, entry{info: info, until: now.Add(c.o.MaxAge)})
	case errors.Is(err, backend.ErrNotExist):
		c.entries.put(k, entry{absent: true, until: now.Add(c.o.MaxAge)})
		dir, _ := k.Split()
		c.misses.note(dir, now, now.Add(-c.o.MaxAge))
	}
}

// Exists answers from memory only and never touches the store: whether it is
// known, and if so, whether a file or directory is at k. What we published or
// deleted is known for at least MaxAge; else nothing is of a local store,
// where Stat is as cheap.
func (c *Catalog) Exists(k backend.Key) (known, exists bool) {
	now := time.Now()
	last, remembered := c.entries.get(k)
	if remembered && c.holds(k, last, now) {
		return true, !last.absent
	}
	if c.opener != nil {
		return false, false
	}
	since := now.Add(-c.o.MaxAge)
	if known, exists = c.listings.exists(k, since); known || remembered {
		return known, exists
	}
	_, err, known := c.looks.stat(k, since)
	return known && errors.Is(err, backend.ErrNotExist), false
}

// holds says whether what is remembered of a name is new enough to go by.
func (c *Catalog) holds(k backend.Key, e entry, now time.Time) bool {
	return now.Before(e.until) && !(e.absent && c.listed(k, now))
}

// listed says whether a directory that was read within MaxAge shows k: whoever
// saw it there must not be told that it is absent by what is older still.
func (c *Catalog) listed(k backend.Key, now time.Time) bool {
	known, exists := c.listings.exists(k, now.Add(-c.o.MaxAge))
	return known && exists
}

// Published tells of a commit of our own: readers see it at once.
func (c *Catalog) Published(i backend.Info) {
	c.changed(i.Key)
	c.health.note(nil)
	c.learn(i.Key, i, nil)
}

// Deleted tells that our own process deleted k.
func (c *Catalog) Deleted(k backend.Key) {
	c.changed(k)
	c.learn(k, backend.Info{}, backend.ErrNotExist)
}

// changed forgets what may be wrong now: of k, and of the directories above,
// which come and go with the names in them. Answers under way are older.
func (c *Catalog) changed(k backend.Key) {
	for {
		c.stats.forget(k)
		c.entries.forget(k)
		if k == "" {
			return
		}
		k, _ = k.Split()
		c.lists.forget(k)
		c.listings.forget(k)
		c.looked.forget(k)
		c.looks.forget(k)
	}
}

// hidden tells whether a name in dir belongs to the mount itself.
func hidden(dir backend.Key, name string) bool {
	return name == controlName || dir == "" && name == manifestName
}

// nameIn cuts the directory off a key that was listed in it.
func nameIn(dir, k backend.Key) string {
	if dir == "" {
		return string(k)
	}
	return strings.TrimPrefix(string(k), string(dir)+"/")
}

// Package catalog is what readers of a mount see: the finished files of the
// target, whoever made them, and the directories between.
//
// A finished file never changes, so what is once known of it is kept; what is
// absent may appear at any time, so that is believed only for a moment, and
// our own commits are known at once.
package catalog

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sinkfs/sinkfs/backend"
)

// Options of a catalog. Zero values are the defaults.
type Options struct {
	MaxAge time.Duration // how long a listing or an absence is believed; default 1 s, local stores 0
	Log    *slog.Logger
}

// Catalog answers readers. Safe for concurrent use.
type Catalog struct {
	store  backend.Store
	local  bool
	maxAge time.Duration
	log    *slog.Logger
}

// New returns the catalog of a store.
func New(store backend.Store, o Options) *Catalog {
	return &Catalog{store: store, local: store.Properties().Local, maxAge: o.MaxAge, log: o.Log}
}

// Stat returns the finished file or the directory at k; "" is the target
// itself, always a directory.
func (c *Catalog) Stat(ctx context.Context, k backend.Key) (backend.Info, error) {
	if k == "" {
		return backend.Info{Dir: true}, nil
	}
	return c.store.Stat(ctx, k)
}

// List calls fn for each finished file and directory in dir, in byte order
// of the names, from the first name greater than after.
func (c *Catalog) List(ctx context.Context, dir backend.Key, after string, fn func(name string, i backend.Info) error) error {
	return c.store.List(ctx, dir, after, fn)
}

// Exists answers from memory only and never touches the store: whether it is
// known, and if so, whether k exists.
func (c *Catalog) Exists(backend.Key) (known, exists bool) { return false, false }

// Published tells of a commit of our own: readers see it at once.
func (c *Catalog) Published(backend.Info) {}

// Deleted tells that our own process deleted k.
func (c *Catalog) Deleted(backend.Key) {}

// File is a finished file, open for reading. Safe for concurrent use.
type File struct{}

// Open opens the finished file at k.
func (c *Catalog) Open(context.Context, backend.Key) (*File, error) {
	return nil, errors.ErrUnsupported
}

// ReadAt fills p from off; fewer bytes only at the end of the file, and then
// without an error.
func (f *File) ReadAt(_ context.Context, _ []byte, _ int64) (int, error) {
	return 0, errors.ErrUnsupported
}

// Info is what was known of the file when it was opened.
func (f *File) Info() backend.Info { return backend.Info{} }

// Fd returns the descriptor of a file of a local store, valid until Close.
func (f *File) Fd() (uintptr, bool) { return 0, false }

// Close ends the readahead and waits for it.
func (f *File) Close() error { return nil }

// Package objects is what the drivers of object stores have in common: bodies
// held to their size, parts sent within a bound of memory, metadata as
// headers, listings in the order of names, connections that end.
package objects

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/sinkfs/sinkfs/backend"
)

// readTries bounds how often a call that changes nothing is made.
const readTries = 3

// Retry repeats a call that may be repeated while its failure may pass.
func Retry[T any](ctx context.Context, call func() (T, error)) (T, error) {
	return again(ctx, readTries, call)
}

func again[T any](ctx context.Context, tries uint, call func() (T, error)) (T, error) {
	return backoff.Retry(ctx, func() (T, error) {
		out, err := call()
		if err != nil && (!errors.Is(err, backend.ErrTransient) || ctx.Err() != nil) {
			err = backoff.Permanent(err)
		}
		return out, err
	}, backoff.WithBackOff(pace()), backoff.WithMaxTries(tries))
}

// pace is that of tries after a failure; a Gate adds what the store asks for.
func pace() backoff.BackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 100*time.Millisecond, 5*time.Second
	return b
}

// InfoOf is what a store will say of an object, but for the checksum.
func InfoOf(o backend.Object) backend.Info {
	i := backend.Info{Key: o.Key, Size: o.Size, Owned: true, Mode: o.Mode, UID: o.UID, GID: o.GID, ModTime: o.ModTime.UTC()}
	if o.ModTime.IsZero() {
		i.ModTime = time.Now().UTC()
	}
	if len(o.Meta) > 0 {
		i.Meta = maps.Clone(o.Meta)
	}
	return i
}

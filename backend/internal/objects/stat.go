package objects

import (
	"context"
	"errors"
	"fmt"

	"github.com/sinkfs/sinkfs/backend"
)

// Head asks for one object; an error wrapping backend.ErrNotExist when there
// is none.
type Head func(ctx context.Context, k backend.Key) (backend.Info, error)

// Stat asks for the object, and when there is none whether anything is below.
func (l *Lister) Stat(ctx context.Context, k backend.Key, head Head) (backend.Info, error) {
	if err := ctx.Err(); err != nil {
		return backend.Info{}, fmt.Errorf("stat %q: %w", string(k), context.Cause(ctx))
	}
	if k == "" {
		return backend.Info{Dir: true}, nil
	}
	info, err := head(ctx, k)
	if !errors.Is(err, backend.ErrNotExist) {
		return info, err
	}
	isDir, listErr := l.IsDir(ctx, k)
	switch {
	case listErr != nil:
		return backend.Info{}, listErr
	case isDir:
		return backend.Info{Key: k, Dir: true}, nil
	}
	return backend.Info{}, err
}

// Vacant is nil where no object is, and wraps backend.ErrExist where one is:
// all that can be done before a put to a store without conditions.
func Vacant(ctx context.Context, k backend.Key, head Head) error {
	taken, err := head(ctx, k)
	switch {
	case err == nil:
		return fmt.Errorf("put %q: an object of %d bytes is there: %w", string(k), taken.Size, backend.ErrExist)
	case errors.Is(err, backend.ErrNotExist):
		return nil
	}
	return err
}

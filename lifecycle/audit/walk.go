package audit

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/sinkfs/sinkfs/backend"
)

// batch is how many objects are looked at together.
const batch = 1000

var errFull = errors.New("batch is full")

// Walk calls fn with every object of a target, metadata included, one at a
// time: those of a directory in order of name, then those of the directories
// in it. What is deleted meanwhile may be left out. It stops with fn's error.
func Walk(ctx context.Context, s backend.Store, fn func(backend.Info) error) error {
	return walk(ctx, s, "", fn)
}

// walk goes through a directory in batches, and then through those in it.
func walk(ctx context.Context, s backend.Store, dir backend.Key, fn func(backend.Info) error) error {
	var dirs []backend.Key
	for after, more := "", true; more; {
		var files []backend.Key
		err := s.List(ctx, dir, after, func(name string, i backend.Info) error {
			if len(files) == batch && !i.Dir { // else a directory with the name of the last object would be left out
				return errFull
			}
			after = name
			if i.Dir {
				dirs = append(dirs, i.Key)
			} else {
				files = append(files, i.Key)
			}
			return nil
		})
		more = errors.Is(err, errFull)
		if err != nil && !more && !errors.Is(err, backend.ErrNotExist) {
			return err
		}
		if err := stat(ctx, s, files, fn); err != nil {
			return err
		}
	}
	for _, d := range dirs {
		if err := walk(ctx, s, d, fn); err != nil {
			return err
		}
	}
	return nil
}

// stat asks for the metadata of objects, in parallel, and hands them on in
// order.
func stat(ctx context.Context, s backend.Store, files []backend.Key, fn func(backend.Info) error) error {
	infos := make([]backend.Info, len(files))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, s.Properties().Parallel))
	for i, k := range files {
		g.Go(func() error {
			info, err := s.Stat(gctx, k)
			if errors.Is(err, backend.ErrNotExist) {
				return nil // deleted meanwhile
			}
			infos[i] = info
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, info := range infos {
		if info.Key == "" {
			continue
		}
		if err := fn(info); err != nil {
			return err
		}
	}
	return nil
}

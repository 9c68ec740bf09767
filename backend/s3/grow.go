package s3

import (
	"context"
	"fmt"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

// growing is an upload whose end is not known yet.
type growing struct{ *upload }

// Grow begins an upload with parts of the size that its limit asks for.
func (s *Store) Grow(ctx context.Context, o backend.Object) (backend.Growing, error) {
	u, err := s.newUpload(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := u.begin(ctx); err != nil {
		return nil, err
	}
	return growing{u}, nil
}

// Unit is the size of a part.
func (g growing) Unit() int64 { return g.part }

// Append uploads a piece in parts.
func (g growing) Append(ctx context.Context, p backend.Piece) error {
	if err := objects.Fits(g.o.Key, g.size, p.Size, g.part, g.o.Size); err != nil {
		return err
	}
	o := backend.Object{Key: g.o.Key, Size: p.Size, Open: p.Open, Alive: p.Alive}
	src, err := objects.OpenSource(o)
	if err == nil {
		defer src.Close()
		err = g.fill(ctx, o, src)
	}
	if err != nil {
		return fmt.Errorf("grow %q: %w", string(o.Key), err)
	}
	return nil
}

// Seal leaves nothing to do but the commit.
func (g growing) Seal(context.Context) (backend.Staged, error) {
	if err := objects.Holds(g.o.Key, g.size); err != nil {
		return nil, err
	}
	return g.staged(), nil
}

// Abort frees what the store has of it.
func (g growing) Abort(ctx context.Context) error {
	return g.store.AbortUpload(ctx, backend.Upload{Key: g.o.Key, ID: g.id})
}

package mem

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sinkfs/sinkfs/backend"
)

// growing is an object that is being sent.
type growing struct {
	*staged
	o    backend.Object
	body []byte
}

// Grow begins an object.
func (s *Store) Grow(ctx context.Context, o backend.Object) (backend.Growing, error) {
	g := &growing{staged: &staged{store: s, began: time.Now().UTC()}, o: o}
	err := s.run(ctx, Grow, o.Key, func() error {
		if err := o.Validate(s.options.Properties.MaxKey); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.begun++
		g.id, g.object.info.Key = strconv.Itoa(s.begun), o.Key
		s.staged[g.staged] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

// Unit is that of the options.
func (g *growing) Unit() int64 { return g.store.options.Unit }

// Append takes a piece in.
func (g *growing) Append(ctx context.Context, p backend.Piece) error {
	return g.store.run(ctx, Append, g.o.Key, func() error {
		size := int64(len(g.body))
		if size%g.Unit() != 0 || size+p.Size > g.o.Size {
			return fmt.Errorf("grow %q: %d bytes cannot follow %d", string(g.o.Key), p.Size, size)
		}
		made, err := g.store.read(ctx, backend.Object{Key: g.o.Key, Size: p.Size, Open: p.Open})
		if err != nil {
			return err
		}
		g.store.mu.Lock()
		defer g.store.mu.Unlock()
		if !g.store.staged[g.staged] {
			return fmt.Errorf("grow %q: %w", string(g.o.Key), backend.ErrGone)
		}
		g.body = append(g.body, made.body...)
		return nil
	})
}

// Seal makes it an object that is staged.
func (g *growing) Seal(ctx context.Context) (backend.Staged, error) {
	err := g.store.run(ctx, Stage, g.o.Key, func() error {
		if len(g.body) == 0 {
			return fmt.Errorf("grow %q: nothing was appended", string(g.o.Key))
		}
		g.store.mu.Lock()
		defer g.store.mu.Unlock()
		g.object = finished(g.o, g.body)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return g.staged, nil
}

// Uploads tells of the growing objects, sealed or not.
func (s *Store) Uploads(ctx context.Context, under backend.Key, fn func(backend.Upload) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, u := range s.uploads(under) {
		if err := fn(u); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) uploads(under backend.Key) []backend.Upload {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []backend.Upload
	for st := range s.staged {
		k := st.object.info.Key
		if st.id != "" && (under == "" || k == under || strings.HasPrefix(string(k), string(under)+"/")) {
			all = append(all, backend.Upload{Key: k, ID: st.id, Started: st.began})
		}
	}
	slices.SortFunc(all, func(a, b backend.Upload) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.ID, b.ID)) })
	return all
}

// AbortUpload forgets a growing object.
func (s *Store) AbortUpload(ctx context.Context, u backend.Upload) error {
	return s.run(ctx, Abort, u.Key, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for st := range s.staged {
			if st.id == u.ID && st.object.info.Key == u.Key {
				delete(s.staged, st)
			}
		}
		return nil
	})
}

package mem

import (
	"context"
	"fmt"
	"time"

	"github.com/sinkfs/sinkfs/backend"
)

// Stage keeps an object aside until Commit.
func (s *Store) Stage(ctx context.Context, o backend.Object) (backend.Staged, error) {
	st := &staged{store: s}
	err := s.run(ctx, Stage, o.Key, func() error {
		var err error
		if st.object, err = s.read(ctx, o); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.staged[st] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	return st, nil
}

type staged struct {
	store  *Store
	object object    // guarded by store.mu
	done   bool      // likewise
	id     string    // of what grew
	began  time.Time // likewise
}

func (st *staged) Checksum() string {
	st.store.mu.Lock()
	defer st.store.mu.Unlock()
	return st.object.info.Checksum
}

func (st *staged) Commit(ctx context.Context) (backend.Info, error) {
	err := st.store.run(ctx, Commit, st.key(), st.commit)
	if err != nil {
		return backend.Info{}, err
	}
	return copyInfo(st.object.info), nil
}

func (st *staged) key() backend.Key {
	st.store.mu.Lock()
	defer st.store.mu.Unlock()
	return st.object.info.Key
}

func (st *staged) commit() error {
	s, k := st.store, st.object.info.Key
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.done {
		return nil
	}
	if !s.staged[st] {
		return fmt.Errorf("commit %q: %w", string(k), backend.ErrGone)
	}
	if _, taken := s.objects[k]; taken {
		return fmt.Errorf("commit %q: %w", string(k), backend.ErrExist)
	}
	s.objects[k] = st.object
	st.done = true
	delete(s.staged, st)
	return nil
}

func (st *staged) Abort(ctx context.Context) error {
	return st.store.run(ctx, Abort, st.key(), func() error {
		st.store.mu.Lock()
		defer st.store.mu.Unlock()
		delete(st.store.staged, st)
		return nil
	})
}

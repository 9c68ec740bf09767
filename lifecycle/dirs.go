package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"syscall"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// Rmdir removes a directory of the spool, and the empty one that the store may
// have of the same name. ENOTEMPTY while either has anything in it.
func (in *Instance) Rmdir(ctx context.Context, dir uint64, name string) error {
	d, err := in.dirNode(dir)
	if err != nil {
		return err
	}
	n := in.tree.Lookup(d, name)
	p := path.Join(d.Path(), name)
	switch {
	case n == nil:
		return fmt.Errorf("%q: %w", p, syscall.ENOENT)
	case n.Kind() != spool.Dir:
		return fmt.Errorf("%q: %w", p, syscall.ENOTDIR)
	case len(in.tree.Children(n)) > 0:
		return fmt.Errorf("%q: %w", p, syscall.ENOTEMPTY)
	}
	// The store's first: should the spool's have to stay then, it shows the
	// same, with the mode and owner that it had.
	if err := in.rmdirBelow(ctx, p); err != nil {
		return err
	}
	in.names.Lock()
	defer in.names.Unlock()
	return in.tree.Rmdir(n)
}

// rmdirBelow leaves nothing in the store where a directory of the spool is to
// go. A store that cannot be asked has nothing: commits make their directories
// themselves.
func (in *Instance) rmdirBelow(ctx context.Context, p string) error {
	if in.dirs == nil {
		if in.storedBelow(ctx, p) {
			return fmt.Errorf("%q: %w", p, syscall.ENOTEMPTY)
		}
		return nil
	}
	err := in.RmdirStored(ctx, p)
	for _, nothing := range []error{
		backend.ErrNotExist, backend.ErrTransient, backend.ErrKey, context.DeadlineExceeded, context.Canceled,
	} {
		if errors.Is(err, nothing) {
			return nil
		}
	}
	return err
}

// RmdirStored removes an empty directory that only the store has; ENOTEMPTY,
// always where directories are there because of what is in them.
func (in *Instance) RmdirStored(ctx context.Context, p string) error {
	if in.dirs == nil {
		return fmt.Errorf("%q: %w", p, syscall.ENOTEMPTY)
	}
	if p == ManifestName || path.Base(p) == ControlName {
		return fmt.Errorf("%q: %w", p, ErrReserved)
	}
	if err := in.dirs.RemoveDir(ctx, backend.Key(p)); err != nil {
		return err
	}
	in.cat.Deleted(backend.Key(p))
	return nil
}

// storedBelow says whether the store has anything in a directory. One that it
// cannot list now counts as empty: commits make their directories themselves.
func (in *Instance) storedBelow(ctx context.Context, p string) bool {
	found := errors.New("found")
	err := in.cat.List(ctx, backend.Key(p), "", func(string, backend.Info) error { return found })
	return errors.Is(err, found)
}

// StoredEmpty says whether a directory of the store has only empty ones in it,
// and none is there because of what is in it.
func (in *Instance) StoredEmpty(ctx context.Context, p string) bool {
	_, err := in.emptyDirs(ctx, p)
	return err == nil && in.dirs != nil
}

// emptyDirs are the directories that the store has from p down, the deepest
// first; ErrHoldsFinished when anything else is there.
func (in *Instance) emptyDirs(ctx context.Context, p string) (dirs []string, err error) {
	err = in.cat.List(ctx, backend.Key(p), "", func(_ string, i backend.Info) error {
		if !i.Dir || in.dirs == nil { // else it is there because of what is in it
			return fmt.Errorf("%q: %w", p, ErrHoldsFinished)
		}
		below, err := in.emptyDirs(ctx, string(i.Key))
		dirs = append(dirs, below...)
		if errors.Is(err, backend.ErrNotExist) { // it went since it was listed
			return nil
		}
		return err
	})
	if err == nil {
		dirs = append(dirs, p)
	}
	return dirs, err
}

// vacate takes the empty directories away that the store has where one of the
// spool is to move from: under its old name, they would be there again.
func (in *Instance) vacate(ctx context.Context, n, old, toDir *spool.Node, to string) error {
	dirs, err := in.emptyDirs(ctx, n.Path())
	if errors.Is(err, ErrHoldsFinished) {
		return err
	}
	if in.dirs == nil || len(dirs) == 0 {
		return nil
	}
	if err := in.mayMoveDir(n, old, toDir, to); err != nil { // or they were gone for nothing
		return err
	}
	for _, p := range dirs {
		err := in.RmdirStored(ctx, p)
		switch {
		case err == nil, errors.Is(err, backend.ErrNotExist):
		case errors.Is(err, backend.ErrNotEmpty):
			return fmt.Errorf("%w: %w", ErrHoldsFinished, err)
		default:
			return err
		}
	}
	return nil
}

// mayMoveDir says whether a directory can be to in toDir, where old is.
func (in *Instance) mayMoveDir(n, old, toDir *spool.Node, to string) error {
	if old != nil && old.Kind() != spool.Dir {
		return fmt.Errorf("%q: %w", old.Path(), syscall.ENOTDIR)
	}
	for d := toDir; d != nil; d = d.Dir() {
		if d == n {
			return fmt.Errorf("%q into itself: %w", n.Path(), syscall.EINVAL)
		}
	}
	for _, s := range in.sourcesBelow(n.Path()) {
		p := path.Join(toDir.Path(), to, strings.TrimPrefix(s.node.Path(), n.Path()))
		if err := in.checkKey(s.sink, p); err != nil {
			return err
		}
		if s.staysInDir() {
			return fmt.Errorf("%q: %w", s.node.Path(), ErrHoldsFinished)
		}
	}
	if old != nil && old != n && len(in.tree.Children(old)) > 0 {
		return fmt.Errorf("%q: %w", old.Path(), syscall.ENOTEMPTY)
	}
	return nil
}

// staysInDir says that the key of the source is decided: its directory cannot
// move.
func (s *source) staysInDir() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keyDecided()
}

func (s *source) keyDecided() bool {
	return s.ended || s.node.Kind() == spool.File && s.part != nil
}

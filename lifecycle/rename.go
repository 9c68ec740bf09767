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

// Unlink takes the name away: a stream's records stay and are published, a
// file is discarded. Names of finished files go to UnlinkFinished.
func (in *Instance) Unlink(dir uint64, name string) error {
	d, err := in.dirNode(dir)
	if err != nil {
		return err
	}
	in.names.Lock()
	defer in.names.Unlock()
	n := in.tree.Lookup(d, name)
	switch {
	case n == nil:
		return fmt.Errorf("%q: %w", name, syscall.ENOENT)
	case n.Kind() == spool.Dir:
		return fmt.Errorf("%q: %w", n.Path(), syscall.EISDIR)
	}
	return in.unlink(n)
}

// unlink is called with in.names held.
func (in *Instance) unlink(n *spool.Node) error {
	s := in.source(n.ID().Ino)
	if s == nil {
		return fmt.Errorf("%q: %w", n.Path(), syscall.ESTALE)
	}
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return fmt.Errorf("%q: %w", n.Path(), ErrFinished)
	}
	stream := n.Kind() == spool.Stream
	if !stream {
		in.withdraw(s)
	}
	err := in.unname(s)
	s.gone = s.gone || !stream && err == nil
	s.touched = in.now()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if stream {
		in.follower.add(s, in.now())
		return nil
	}
	in.remove(s)
	return nil
}

// UnlinkFinished deletes a finished file where the sink allows it, else
// ErrFinished.
func (in *Instance) UnlinkFinished(ctx context.Context, p string) error {
	if !in.sinkOf(p).AllowDelete {
		return fmt.Errorf("%q: %w", p, ErrFinished)
	}
	err := in.store.Delete(ctx, backend.Key(p))
	if err != nil && !errors.Is(err, backend.ErrNotExist) {
		if _, serr := in.store.Stat(ctx, backend.Key(p)); !errors.Is(serr, backend.ErrNotExist) {
			return err
		}
		err = nil // only the answer was lost
	}
	in.cat.Deleted(backend.Key(p))
	return errors.Join(in.markDeleted(p), err) // one that is gone was deleted by a call before
}

// Rename moves an unfinished file or directory. A stream keeps the directory
// of what was written; a target that is unfinished goes first, as by Unlink,
// unless noReplace.
func (in *Instance) Rename(ctx context.Context, fromDir uint64, from string, toDir uint64, to string, noReplace bool) error {
	fd, err := in.dirNode(fromDir)
	if err != nil {
		return err
	}
	td, err := in.dirNode(toDir)
	if err != nil {
		return err
	}
	oldPath, newPath := path.Join(fd.Path(), from), path.Join(td.Path(), to)
	n := in.tree.Lookup(fd, from)
	if err := in.mayRename(ctx, n, oldPath, to, newPath); err != nil {
		return err
	}
	if n.Kind() == spool.Dir {
		if err := in.vacate(ctx, n, in.tree.Lookup(td, to), td, to); err != nil {
			return err
		}
	}
	in.names.Lock()
	defer in.names.Unlock()
	n = in.tree.Lookup(fd, from)
	old := in.tree.Lookup(td, to)
	switch {
	case n == nil:
		return fmt.Errorf("%q: %w", oldPath, syscall.ENOENT)
	case n == old:
		return nil
	case old != nil && noReplace, in.finishedMeanwhile(newPath):
		return fmt.Errorf("%q: %w", newPath, syscall.EEXIST)
	}
	if n.Kind() == spool.Dir {
		return in.renameDir(n, old, td, to)
	}
	return in.renameFile(n, old, td, to)
}

// mayRename asks what needs the store, before names are held.
func (in *Instance) mayRename(ctx context.Context, n *spool.Node, oldPath, to, newPath string) error {
	if err := checkName(to); err != nil {
		return err
	}
	if n == nil {
		if _, ok := in.stored(ctx, oldPath); ok {
			return fmt.Errorf("%q: %w", oldPath, ErrFinished)
		}
		return fmt.Errorf("%q: %w", oldPath, syscall.ENOENT)
	}
	sink := in.sinkOf(newPath)
	if in.sinkOf(oldPath) != sink || n.Kind() == spool.Dir && (in.hasSinkBelow(oldPath) || in.hasSinkBelow(newPath)) {
		return fmt.Errorf("%q to %q: %w", oldPath, newPath, ErrOtherSink)
	}
	if err := in.checkKey(sink, newPath); err != nil {
		return err
	}
	if info, ok := in.stored(ctx, newPath); ok && (n.Kind() != spool.Dir || !info.Dir) {
		return fmt.Errorf("%q: %w", newPath, ErrExist)
	}
	if n.Kind() == spool.Dir && in.storedBelow(ctx, newPath) {
		return fmt.Errorf("%q: %w", oldPath, ErrHoldsFinished)
	}
	return nil
}

func (in *Instance) hasSinkBelow(p string) bool {
	for _, s := range in.sinks {
		if s.Path != "" && below(s.Path, p) {
			return true
		}
	}
	return false
}

func (in *Instance) renameFile(n, old, toDir *spool.Node, to string) error {
	if old != nil && old.Kind() == spool.Dir {
		return fmt.Errorf("%q: %w", old.Path(), syscall.EISDIR)
	}
	s := in.source(n.ID().Ino)
	if s == nil {
		return fmt.Errorf("%q: %w", n.Path(), syscall.ESTALE)
	}
	s.mu.Lock() // and that of old below: only whoever holds names takes two
	defer s.mu.Unlock()
	if s.ended {
		return fmt.Errorf("%q: %w", n.Path(), ErrFinished)
	}
	now := in.now()
	if n.Kind() == spool.Stream && n.Dir() != toDir {
		if err := in.stay(s, now); err != nil {
			return err
		}
	}
	if old != nil { // what stands there goes once nothing is in the way
		if n.Dir() != toDir { // the rename does that too, and may fail at it
			if err := n.Sync(); err != nil {
				return err
			}
		}
		if err := in.unlink(old); err != nil {
			return err
		}
	}
	in.withdraw(s)
	if err := in.tree.Rename(n, toDir, to); err != nil {
		return err
	}
	s.touched = now
	if n.Kind() == spool.Scratch {
		in.settleKind(s)
		if s.sink.kindOf(to) == spool.Scratch {
			in.noteScratch(n.Path())
		}
		in.follower.add(s, now)
	}
	return nil
}

func (in *Instance) renameDir(n, old, toDir *spool.Node, to string) error {
	if err := in.mayMoveDir(n, old, toDir, to); err != nil {
		return err
	}
	below := in.sourcesBelow(n.Path())
	defer func() {
		for _, s := range below {
			s.mu.Lock()
			s.moving = false
			s.mu.Unlock()
		}
	}()
	for _, s := range below {
		if err := in.stayInRenamedDir(s); err != nil {
			return err
		}
	}
	if old != nil {
		if err := in.tree.Rmdir(old); err != nil {
			return err
		}
	}
	return in.tree.Rename(n, toDir, to)
}

func (in *Instance) stayInRenamedDir(s *source) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.keyDecided():
		return fmt.Errorf("%q: %w", s.node.Path(), ErrHoldsFinished)
	case s.node.Kind() == spool.File:
		s.moving = true
	case s.node.Kind() == spool.Stream:
		return in.stay(s, in.now())
	}
	return nil
}

// sourcesBelow are the sources whose name is in a directory or below it.
func (in *Instance) sourcesBelow(dir string) []*source {
	in.mu.Lock()
	defer in.mu.Unlock()
	var out []*source
	for _, s := range in.sources {
		if !s.node.Unlinked() && strings.HasPrefix(s.node.Path(), dir+"/") {
			out = append(out, s)
		}
	}
	return out
}

package lifecycle

import (
	"errors"
	"log/slog"
	"syscall"

	"github.com/sinkfs/sinkfs/internal/fault"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// remove takes a spool file away for good, once nobody uses it: its bytes are
// finished or were discarded. A stream that the journal knows was announced
// before, or it lingers until it is.
func (in *Instance) remove(s *source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in.source(s.id.Ino) != s { // somebody else has, and its number may be another's by now
		in.mu.Lock()
		delete(in.lingering, s)
		in.mu.Unlock()
		return
	}
	if s.node.Kind() == spool.Stream && !s.gone && !in.isOver(s) {
		s.leaving = false // what is finished of it then is journaled without that
		in.mu.Lock()
		delete(in.lingering, s) // a program wrote to it again
		in.mu.Unlock()
		in.follower.add(s, in.now())
		return
	}
	s.gone = true
	if s.handles > 0 {
		return // the last RELEASE comes back here
	}
	if s.unannounced() {
		in.linger(s)
		return
	}
	if in.cfg.Observer.Removing != nil {
		in.cfg.Observer.Removing(s.id.Ino)
	}
	if err := fault.Hit(fault.UnlinkSource); err != nil {
		return
	}
	err := in.tree.Remove(s.node)
	switch {
	case errors.Is(err, spool.ErrBusy):
		in.linger(s)
		return
	case err != nil && !errors.Is(err, syscall.ENOENT):
		in.log.Error("spool file cannot be removed", slog.String("path", s.node.Path()), slog.Any("error", err))
		in.linger(s)
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.sources[s.id.Ino] == s { // the number may name a new file by now
		delete(in.sources, s.id.Ino)
	}
	delete(in.lingering, s)
	in.removals = append(in.removals, removal{s.wasIn, append(s.whenGone, journal.DropSource{ID: s.id})})
}

// removal is a spool file that is gone, and what the journal may forget once
// that is durable: a file that came back after a power cut would be published
// again.
type removal struct {
	dir     *spool.Node // had its name; nil: unknown
	records []journal.Record
}

// sweep makes removals durable, so that the journal can forget them.
func (in *Instance) sweep() {
	in.mu.Lock()
	removals := in.removals
	in.removals = nil
	in.mu.Unlock()
	if len(removals) == 0 {
		return
	}
	err := in.syncRemovals(removals)
	in.mu.Lock()
	defer in.mu.Unlock()
	if err != nil {
		in.removals = append(removals, in.removals...)
		in.log.Warn("removals are not durable yet", slog.Any("error", err))
		return
	}
	for _, r := range removals {
		in.garbage = append(in.garbage, r.records...)
	}
}

func (in *Instance) syncRemovals(removals []removal) error {
	dirs := map[*spool.Node]bool{}
	for _, r := range removals {
		dirs[r.dir] = true
	}
	if dirs[nil] || len(dirs) > manySources {
		return in.tree.SyncAll()
	}
	for d := range dirs {
		if err := d.Sync(); err != nil { // removed itself, most likely
			return in.tree.SyncAll()
		}
	}
	return in.tree.SyncUnlinked()
}

// unname takes the name of a spool file away. s.mu is held.
func (in *Instance) unname(s *source) error {
	dir := s.node.Dir()
	if err := in.tree.Unlink(s.node); err != nil {
		return err
	}
	if dir != nil {
		s.wasIn = dir
	}
	return nil
}

func (in *Instance) linger(s *source) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.lingering[s] = true
}

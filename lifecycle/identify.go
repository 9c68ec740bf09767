package lifecycle

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// identify makes sure that journal, spool and target belong together, and
// makes the instance's record the first time.
func (in *Instance) identify(ctx context.Context, r recovery) error {
	props := in.store.Properties()
	fresh := journal.Instance{
		Version: recordsVersion, Target: in.cfg.Target, Identity: props.Identity, SpoolIno: in.tree.Ino(),
		Created: in.now().UTC(), Reached: true,
	}
	if err := in.admit(r, fresh, props.Local); err != nil {
		return err
	}
	switch old := r.instance; {
	case old == nil:
		var err error
		if fresh.UID, err = newUID(); err != nil {
			return err
		}
	case old.Identity == fresh.Identity:
		in.uid, in.record = old.UID, *old
		return nil
	default:
		fresh.UID, fresh.Former, fresh.Created = old.UID, old.Former, old.Created
	}
	in.uid, in.record = fresh.UID, fresh
	if err := in.meet(ctx); err != nil {
		return err
	}
	return in.persist(in.journal.Mark, fresh)
}

// admit refuses a fresh record that cannot take the place of the one that the
// journal has.
func (in *Instance) admit(r recovery, fresh journal.Instance, local bool) error {
	old := r.instance
	switch {
	case old == nil && (len(in.sources) > 0 || in.evidence.exists()):
		return in.cfg.emptyJournal(len(in.sources))
	case old == nil:
	case old.Version > recordsVersion:
		return fmt.Errorf("state directory %s was written by a newer sinkfs (records %d, this one knows %d), upgrade: %w",
			in.cfg.StateDir, old.Version, recordsVersion, ErrState)
	case old.SpoolIno != fresh.SpoolIno:
		return fmt.Errorf("state directory %s is a copy or its spool was replaced (spool inode %d, expected %d): two instances of one uid would overwrite each other, use the original or a new directory: %w",
			in.cfg.StateDir, fresh.SpoolIno, old.SpoolIno, ErrState)
	case old.Identity == fresh.Identity:
	case old.Target == in.cfg.Target && (in.holdsUnfinished(r) || local && !strings.HasPrefix(old.Identity, backend.PathIdentity)):
		return fmt.Errorf("target %s is not the one that state directory %s belongs to: its directory was replaced, or its disk is not mounted; bring it back, or name another state directory: %w",
			in.cfg.Target, in.cfg.StateDir, ErrState)
	case in.holdsUnfinished(r):
		return fmt.Errorf("state directory %s holds unpublished data of target %s, mount that target once more to publish it, or name another state directory for %s: %w",
			in.cfg.StateDir, old.Target, in.cfg.Target, ErrState)
	}
	return nil
}

// HadTarget says whether c.Target, a local one that is missing, is what the
// state directory was used with: then its disk is missing, most likely.
// Otherwise a new directory may take its place, or the error is why Open would
// refuse that. It asks no store; the caller holds the lock of the state
// directory.
func HadTarget(c Config) (had bool, err error) {
	c.setDefaults()
	in := &Instance{cfg: c, log: c.Log, evidence: newEvidence(c.StateDir, c.Log), sources: map[uint64]*source{}, counters: map[string]uint64{}}
	in.addSinks(c.Sinks)
	r, err := in.load(func(fn func(journal.Record) error) error {
		return journal.Read(filepath.Join(c.StateDir, "journal"), fn)
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	if r.instance != nil && r.instance.Target == c.Target {
		return true, nil
	}
	if in.tree, err = spool.Open(c.SpoolDir, c.Log); err != nil {
		return false, fmt.Errorf("spool %s: %w: %w", c.SpoolDir, ErrState, err)
	}
	in.recoverTree(time.Now())
	err = in.admit(r, journal.Instance{Target: c.Target, SpoolIno: in.tree.Ino()}, true)
	return false, errors.Join(err, in.tree.Close())
}

func newUID() (string, error) {
	uid := make([]byte, 8)
	_, err := rand.Read(uid)
	return hex.EncodeToString(uid), err
}

// meet reaches a target that was never reached with this state directory: a
// mistyped one is an error, not a silent backlog.
func (in *Instance) meet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, firstContact)
	defer cancel()
	again := time.NewTicker(firstTries / 10)
	defer again.Stop()
	for begun := time.Now(); ; <-again.C {
		err := in.store.Check(ctx)
		switch {
		case err == nil:
			in.target.ok()
			return nil
		case !errors.Is(err, backend.ErrTransient), time.Since(begun) > firstTries, ctx.Err() != nil:
			return fmt.Errorf("target %s: %w: %w", in.cfg.Target, ErrTarget, err)
		}
	}
}

func (in *Instance) holdsUnfinished(r recovery) bool {
	for _, p := range r.parts {
		if p.State != journal.Finished {
			return true
		}
	}
	for _, s := range in.sources {
		size, err := s.node.Size()
		if err != nil || s.node.Kind() != spool.Scratch && size > rangeSet(r.sources[s.id].Finished).bytes() {
			return true
		}
	}
	return false
}

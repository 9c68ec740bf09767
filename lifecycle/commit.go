package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/internal/fault"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// errForeign: an object that is not an attempt of the part has its key.
var errForeign = errors.New("another object has this key")

// errQuarantined: the part cannot be published as it is.
var errQuarantined = errors.New("quarantined")

// commitAll publishes parts in parallel, each retried until the commit timeout
// or tried once. One stuck part stops nothing; when no part at all gets on for
// the commit timeout, the store is taken for down and the rest waits. It
// returns those that are in the store, and why the others are not.
func (in *Instance) commitAll(ctx context.Context, parts []*part, tries uint) (done []*part, failed map[*part]error) {
	ctx, alive, cancel := withProgress(ctx, in.cfg.CommitTimeout)
	defer cancel()
	errs := make([]error, len(parts))
	var g errgroup.Group
	g.SetLimit(max(1, in.store.Properties().Parallel))
	for i, p := range parts {
		g.Go(func() error {
			if errs[i] = context.Cause(ctx); errs[i] == nil {
				errs[i] = in.commit(ctx, p, tries, alive)
			}
			return nil
		})
	}
	_ = g.Wait() // no func fails
	failed = map[*part]error{}
	for i, p := range parts {
		if errs[i] == nil {
			done = append(done, p)
		} else {
			failed[p] = errs[i]
			in.fail(errs[i])
		}
	}
	return done, failed
}

// untilTimeout is no limit of tries but the time.
const untilTimeout = 0

// commit publishes one part, exactly once, or says why not yet.
func (in *Instance) commit(ctx context.Context, p *part, tries uint, aliveAll func()) error {
	ctx, aliveHere, cancel := withProgress(ctx, in.cfg.CommitTimeout)
	defer cancel()
	defer in.forget(p)
	alive := func() { aliveHere(); aliveAll() }
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		if p.staged == nil && p.Bytes <= in.store.Properties().StageAbove {
			in.noteParts([]*part{p}) // another attempt may have less room than the one before
			aliveHere()
		}
		err := in.try(ctx, p, alive)
		if err != nil {
			alive = aliveHere // what failed once is no sign of life of the store
		}
		if errors.Is(err, errQuarantined) || errors.Is(err, journal.ErrBroken) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(in.pace()), backoff.WithMaxElapsedTime(in.cfg.CommitTimeout), backoff.WithMaxTries(tries))
	if err == nil {
		aliveAll()
		err = fault.Hit(fault.CommitAnswered)
	}
	return err
}

func (in *Instance) pace() backoff.BackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 50*time.Millisecond, 5*time.Second
	return b
}

// try is one attempt by the commit rule: publish, never overwriting; on any
// error look at what stands there. That the key is another's the call itself
// must have said: a web server in front of the store shows a page at each.
func (in *Instance) try(ctx context.Context, p *part, alive func()) error {
	info, err := in.publish(ctx, p, alive)
	if err == nil {
		p.known = info
		in.target.ok()
		return nil
	}
	in.target.failed(err)
	if errors.Is(err, errChanged) || errors.Is(err, backend.ErrKey) {
		return in.quarantine(ctx, p, err) // another try would end the same way
	}
	found, statErr := in.store.Stat(ctx, backend.Key(p.Key))
	switch {
	case statErr == nil && in.isOurs(p, found):
		p.known = found
		in.target.ok()
		in.abort(ctx, p)
		return nil
	case statErr == nil && (errors.Is(err, backend.ErrExist) || errors.Is(err, backend.ErrGone)):
		in.target.ok()
		return in.makeWay(ctx, p, found)
	case errors.Is(statErr, backend.ErrNotExist) && errors.Is(err, backend.ErrGone):
		return in.again(ctx, p, err)
	}
	return err
}

// publish makes the one call that makes the part seen.
func (in *Instance) publish(ctx context.Context, p *part, alive func()) (backend.Info, error) {
	if p.Bytes > in.store.Properties().StageAbove && p.staged == nil {
		if err := in.stagePart(ctx, p); err != nil { // after a restart
			return backend.Info{}, err
		}
	}
	if p.staged != nil {
		return p.staged.Commit(ctx)
	}
	return in.store.Put(ctx, in.object(p, alive, func() (io.ReadCloser, error) {
		if p.kept != nil {
			return io.NopCloser(bytes.NewReader(p.kept)), nil
		}
		return checkedBody{newBody(p, alive)}, nil
	}))
}

// checkedBody fails at its end when it is not what the checkpoint prepared,
// so that the store never publishes it.
type checkedBody struct{ *body }

func (b checkedBody) Read(buf []byte) (int, error) {
	n, err := b.body.Read(buf)
	if errors.Is(err, io.EOF) && b.p.Checksum != "" && b.p.Checksum != b.checksum() {
		return n, fmt.Errorf("part %d: %w", b.p.ID, errChanged)
	}
	return n, err
}

// isOurs says whether an object is a journaled attempt of the part.
func (in *Instance) isOurs(p *part, i backend.Info) bool {
	attempt, err := strconv.ParseUint(i.Meta[MetaAttempt], 10, 32)
	return err == nil && attempt <= uint64(p.Attempt) &&
		i.Meta[MetaInstance] == in.uid && i.Meta[MetaPart] == fmt.Sprint(p.ID) &&
		i.Size == p.Bytes && !backend.ChecksumsDiffer(i.Checksum, p.Checksum)
}

// makeWay gives a part whose key is taken another: the next number of its
// sink. A file of a file sink has no other.
func (in *Instance) makeWay(ctx context.Context, p *part, found backend.Info) error {
	if p.File && p.sink.File {
		return in.quarantine(ctx, p, fmt.Errorf("%q of %d bytes: %w, rename the file in the mount", p.Key, found.Size, errForeign))
	}
	in.log.Warn("another object has the key, the part takes the next number", slog.String("key", p.Key))
	next := p.Part
	err := in.numbered(func() []journal.Record {
		next.N = in.take(p.Sink)
		return []journal.Record{in.counter(p.Sink)}
	})
	if err != nil {
		return err
	}
	if next.File {
		next.Key = besides(next.Key, in.uid, next.N)
	} else {
		next.Key = strings.TrimSuffix(p.Key, p.sink.partName(in.uid, p.N)) + p.sink.partName(in.uid, next.N)
	}
	return in.reattempt(ctx, p, next, fmt.Errorf("%q: %w", p.Key, errForeign))
}

// again stages a part anew whose staged bytes the store lost.
func (in *Instance) again(ctx context.Context, p *part, why error) error {
	if p.sink.HoldUnknown {
		return in.quarantine(ctx, p, fmt.Errorf("the upload is gone and no object is there, on_unknown is hold: %w", why))
	}
	in.events.restaged(p.Key, why.Error())
	in.log.Warn("staged bytes are gone, staging again", slog.String("key", p.Key), slog.Any("error", why))
	return in.reattempt(ctx, p, p.Part, why)
}

// reattempt journals the next attempt before anything of it is sent.
func (in *Instance) reattempt(ctx context.Context, p *part, next journal.Part, why error) error {
	next.Attempt++
	if err := in.persist(in.journal.Write, next); err != nil {
		return err
	}
	in.abort(ctx, p)
	in.update(p, func(r *journal.Part) { *r = next })
	return why
}

// abort gives up what was staged and is not needed.
func (in *Instance) abort(ctx context.Context, p *part) {
	if p.staged == nil {
		return
	}
	if err := p.staged.Abort(ctx); err != nil {
		in.log.Warn("staged bytes were not given up, gc finds them", slog.String("key", p.Key), slog.Any("error", err))
	}
	p.staged = nil
}

// quarantine sets a part aside that cannot be published: its bytes stay in the
// spool, and nothing of it in the store.
func (in *Instance) quarantine(ctx context.Context, p *part, why error) error {
	before := p.State
	in.abort(ctx, p)
	if !in.setAside(p, why) {
		return why // a program has its file again: it is discarded
	}
	if err := in.persist(in.journal.Write, p.Part); err != nil {
		in.update(p, func(r *journal.Part) { r.State, r.Error = before, "" }) // it is tried again
		return err
	}
	for _, s := range p.sources {
		s.mu.Lock()
		s.ended = false
		s.mu.Unlock()
	}
	in.log.Error("part quarantined", slog.String("key", p.Key), slog.Any("error", why))
	return fmt.Errorf("%w: %w", errQuarantined, why)
}

// setAside is false for a part that was taken back before.
func (in *Instance) setAside(p *part, why error) bool {
	if p.File {
		s := p.sources[0]
		s.mu.Lock()
		defer s.mu.Unlock()
		if p.withdrawn {
			return false
		}
	}
	in.update(p, func(r *journal.Part) { r.State, r.Error = journal.Quarantined, why.Error() })
	return true
}

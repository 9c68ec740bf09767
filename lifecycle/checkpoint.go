package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/internal/fault"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// Trigger says who asks for a checkpoint and what it takes.
type Trigger string

// The triggers.
const (
	Now     Trigger = "now"     // seal and publish every whole record and closed file
	Policy  Trigger = "policy"  // what the rolling policies sealed
	Timer   Trigger = "timer"   // as Policy, asked by Interval
	End     Trigger = "end"     // end of input: open writers' torn tails too
	Unmount Trigger = "unmount" // as Now, in batch mode too
)

// takesAll says that the rolling policies are not asked.
func (t Trigger) takesAll() bool { return t != Timer && t != Policy }

// checkpoint is one checkpoint on its way.
type checkpoint struct {
	journal.Checkpoint
	begun time.Time
	parts []*part // prepared by it
}

// checkpoint publishes what the trigger takes. Until prepare it can be
// declined; from there on every part of it reaches the store, now or later.
func (in *Instance) checkpoint(ctx context.Context, t Trigger) (journal.Checkpoint, error) {
	c, err := in.prepare(ctx, t)
	if err != nil || c == nil {
		return in.declined(ctx, c, err), err
	}
	return in.complete(ctx, c)
}

// prepare is the first half of a checkpoint. It returns nil when a timer
// finds nothing to do.
func (in *Instance) prepare(ctx context.Context, t Trigger) (*checkpoint, error) {
	c := in.begin(t)
	ctx, cancel := context.WithTimeout(ctx, in.cfg.CheckpointTimeout)
	defer cancel()

	h, err := in.barrier(ctx, c) // 1. note every source's size
	if err != nil || t == Timer && h.empty() && !in.hasParts() {
		return nil, err
	}
	if err := in.seal(ctx, h); err != nil { // 2. durable, journaled as pending
		return c, err
	}
	ready, declined := in.stage(ctx, in.pending(ctx)) // 3. near the store, unseen
	in.decline(ctx, c, declined)
	return c, in.commitTo(ctx, c, ready) // 4. prepared N: the point of no return
}

// complete is the second half: it commits every part of c and of the
// checkpoints before it.
func (in *Instance) complete(ctx context.Context, c *checkpoint) (journal.Checkpoint, error) {
	done, stuck := in.commitAll(ctx, in.committing(c.ID), untilTimeout) // 5. seen
	if err := in.finish(c, done, stuck); err != nil {                   // 6. finished, manifest, complete N
		c.State, c.Error = journal.Partial, err.Error() // it is not known to the journal, and goes on
		in.fail(err)
		return c.Checkpoint, err
	}
	in.release(done) // 7. tell everyone, free the spool
	in.sendManifests(ctx)
	in.settle(ctx, c)
	if len(c.Failed) > 0 {
		return c.Checkpoint, fmt.Errorf("checkpoint %d: %s: %w", c.ID, c.Error, ErrIncomplete)
	}
	return c.Checkpoint, nil
}

func (in *Instance) begin(t Trigger) *checkpoint {
	in.mu.Lock()
	defer in.mu.Unlock()
	now := in.now()
	return &checkpoint{begun: now, Checkpoint: journal.Checkpoint{
		ID: in.lastID + 1, Trigger: string(t), Started: now.UTC(),
		LeftOut: []journal.Excuse{}, Failed: []journal.Failure{},
	}}
}

func (in *Instance) barrier(ctx context.Context, c *checkpoint) (harvest, error) {
	t := Trigger(c.Trigger)
	if t != Timer {
		in.awaitReleases(ctx)
	}
	h := in.collect(t)
	c.LeftOut, c.Failed = append(c.LeftOut, h.leftOut...), append(c.Failed, h.failed...)
	slices.SortFunc(c.LeftOut, func(a, b journal.Excuse) int { return cmp.Compare(a.Path, b.Path) })
	slices.SortFunc(c.Failed, func(a, b journal.Failure) int { return cmp.Compare(a.Path, b.Path) })
	if err := fault.Hit(fault.Barrier); err != nil {
		in.unseal(h)
		return h, err
	}
	return h, nil
}

func (h harvest) empty() bool { return len(h.pieces) == 0 && len(h.files) == 0 }

// pending are the parts to publish, oldest first, less those whose file was
// opened again.
func (in *Instance) pending(ctx context.Context) []*part {
	return in.selectParts(func(p *part) bool { return p.State == journal.Pending && !in.discard(ctx, p) })
}

// committing are the parts that checkpoint id and those before it prepared.
func (in *Instance) committing(id uint64) []*part {
	return in.selectParts(func(p *part) bool { return p.State == journal.Committing && p.Checkpoint <= id })
}

func (in *Instance) hasParts() bool {
	return len(in.selectParts(func(p *part) bool { return p.State != journal.Quarantined })) > 0
}

func (in *Instance) selectParts(match func(*part) bool) []*part {
	in.mu.Lock()
	all := make([]*part, 0, len(in.parts))
	for _, p := range in.parts {
		all = append(all, p)
	}
	in.mu.Unlock()
	all = slices.DeleteFunc(all, func(p *part) bool { return !match(p) })
	slices.SortFunc(all, func(a, b *part) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// discard forgets a part whose file a program opened, renamed or removed
// before it was prepared.
func (in *Instance) discard(ctx context.Context, p *part) bool {
	if !p.File {
		return false
	}
	s := p.sources[0]
	s.mu.Lock()
	withdrawn := p.withdrawn
	s.mu.Unlock()
	if !withdrawn {
		return false
	}
	in.forget(p)
	in.abort(ctx, p)
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.parts, p.ID)
	in.garbage = append(in.garbage, journal.DropPart{ID: p.ID})
	return true
}

// decline leaves parts whose staging failed to the next checkpoint.
func (in *Instance) decline(ctx context.Context, c *checkpoint, failed map[*part]error) {
	for p, err := range failed {
		if in.discard(ctx, p) {
			continue // a program has the file again: that is why
		}
		if errors.Is(err, errChanged) || errors.Is(err, backend.ErrKey) {
			err = in.quarantine(ctx, p, err)
		}
		in.fail(err)
		c.Failed = append(c.Failed, failure(p, err))
	}
}

func failure(p *part, err error) journal.Failure {
	return journal.Failure{Path: p.Ranges[0].Path, Key: p.Key, Error: err.Error()}
}

// commitTo writes the mark that makes the checkpoint irrevocable.
func (in *Instance) commitTo(ctx context.Context, c *checkpoint, ready []*part) error {
	c.parts = slices.DeleteFunc(ready, func(p *part) bool { return !in.end(ctx, p) })
	if len(c.parts) == 0 && len(c.Failed) > 0 {
		return fmt.Errorf("%s: %w", c.Failed[0].Error, ErrIncomplete)
	}
	c.State = journal.Prepared
	var records []journal.Record
	for _, p := range c.parts {
		r := p.Part
		r.State, r.Checkpoint = journal.Committing, c.ID
		records = append(records, r)
	}
	if err := fault.Hit(fault.PrepareParts); err != nil {
		return in.unprepared(c, err)
	}
	if err := in.write(in.journal.Mark, append(records, c.Checkpoint)...); err != nil {
		return in.unprepared(c, err)
	}
	for _, p := range c.parts {
		in.update(p, func(r *journal.Part) { r.State, r.Checkpoint = journal.Committing, c.ID })
	}
	in.mu.Lock()
	in.lastID = c.ID
	in.mu.Unlock()
	in.noteParts(c.parts)
	return fault.Hit(fault.PrepareAnchor)
}

// end makes a file count as finished from here on. It is false when the part
// was taken back before.
func (in *Instance) end(ctx context.Context, p *part) bool {
	if !p.File {
		return true
	}
	s := p.sources[0]
	s.mu.Lock()
	s.ended = !p.withdrawn
	ended := s.ended
	s.mu.Unlock()
	return ended || !in.discard(ctx, p)
}

// unprepared undoes end when nothing was journaled. After any other error of
// the journal the outcome is open until the next start: the files stay as
// they are.
func (in *Instance) unprepared(c *checkpoint, err error) error {
	if errors.Is(err, journal.ErrBroken) {
		return err
	}
	for _, p := range c.parts {
		if p.File {
			s := p.sources[0]
			s.mu.Lock()
			s.ended = false
			s.mu.Unlock()
		}
	}
	return err
}

// declined is what the caller of a checkpoint gets that prepared nothing.
func (in *Instance) declined(ctx context.Context, c *checkpoint, err error) journal.Checkpoint {
	if c == nil || err == nil {
		return journal.Checkpoint{}
	}
	c.State, c.Error = journal.Declined, err.Error()
	c.DurationMS = in.now().Sub(c.begun).Milliseconds()
	in.mu.Lock()
	in.lastID = c.ID
	if in.lastDeclined > 0 { // the journal keeps the latest only
		in.garbage = append(in.garbage, journal.DropCheckpoint{ID: in.lastDeclined})
	}
	in.lastDeclined = c.ID
	in.mu.Unlock()
	if jerr := in.write(in.journal.Write, c.Checkpoint); jerr != nil {
		in.log.Error("declined checkpoint cannot be recorded", slog.Any("error", jerr))
	}
	in.fail(err)
	in.settle(ctx, c)
	return c.Checkpoint
}

// settle makes the outcome known.
func (in *Instance) settle(ctx context.Context, c *checkpoint) {
	in.mu.Lock()
	last := c.Checkpoint
	in.last = &last
	if c.State == journal.Complete {
		in.succeeded = in.now()
	}
	in.mu.Unlock()
	level := slog.LevelInfo
	if c.State != journal.Complete {
		level = slog.LevelWarn
	} else if c.Trigger == string(Timer) {
		level = slog.LevelDebug
	}
	in.log.Log(context.WithoutCancel(ctx), level, "checkpoint", slog.Uint64("id", c.ID), slog.String("state", string(c.State)),
		slog.String("trigger", c.Trigger), slog.Int("parts", c.Parts), slog.Int64("bytes", c.Bytes),
		slog.Int64("duration_ms", c.DurationMS), slog.String("reason", c.Error))
	in.events.checkpoint(c.Checkpoint)
}

//go:build faults

package lifecycle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"sync"

	"pgregory.net/rapid"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/internal/fault"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// sky is what comes over a store. Its hooks run beside the test, which only can
// draw.
type sky struct {
	mu      sync.Mutex
	chance  *rand.Rand
	crowded bool
	stormy  bool
	until   int                // calls that publish until programs have their turn
	turn    chan chan struct{} // closed by them when it is over
}

func newSky(seed uint64, crowded bool) *sky {
	return &sky{chance: rand.New(rand.NewPCG(seed, 0)), crowded: crowded, turn: make(chan chan struct{})}
}

func (s *sky) with(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// theirs is what others write to the target.
const theirs = "[theirs]"

func (w *chaos) before(_ context.Context, op mem.Op, k backend.Key) error {
	turn, intruded := false, false
	if op == mem.Put || op == mem.Commit || op == mem.Stage {
		w.sky.with(func() {
			w.sky.until--
			turn = w.sky.until == 0
			intruded = w.sky.crowded && op != mem.Stage && strings.HasPrefix(path.Base(string(k)), "part-") && w.sky.chance.IntN(12) == 0
		})
	}
	if _, there := w.store.Objects()[k]; intruded && !there {
		w.store.Foreign(k, []byte(theirs))
	}
	if turn {
		over := make(chan struct{})
		w.sky.turn <- over
		<-over
	}
	return w.sky.strike("down", op)
}

func (w *chaos) after(_ context.Context, op mem.Op, _ backend.Key) error {
	return w.sky.strike("answer lost", op)
}

func (s *sky) strike(how string, op mem.Op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stormy && op != mem.Check && s.chance.IntN(3) == 0 {
		return fmt.Errorf("%s: %w", how, backend.ErrTransient)
	}
	return nil
}

// faultPoints are those on the way of a checkpoint; the journal is on it often.
// At fault.PrepareAnchor there can be a kill, and no error.
var faultPoints = []fault.Point{
	fault.JournalWrite, fault.JournalCommit, fault.JournalRoom, fault.JournalWrite, fault.JournalCommit, fault.JournalRoom,
	fault.JournalCommit, fault.JournalRoom, fault.Barrier, fault.SealSynced, fault.SealJournaled, fault.StageDone,
	fault.PrepareParts, fault.PrepareMark, fault.CommitAnswered, fault.FinishParts, fault.FinishMark,
	fault.ReleaseDone, fault.UnlinkSource, fault.GrowClaimed, fault.GrowBegun, fault.GrowSent, fault.GrowEnded, fault.SpoolBase,
}

// threaten has a checkpoint fail on its way, or the disk be full for a while.
func (w *chaos) threaten() {
	if w.oneIn(2, "no fault") {
		return
	}
	p := rapid.SampledFrom(faultPoints).Draw(w.rt, "point")
	first := rapid.IntRange(1, 12).Draw(w.rt, "hit")
	last := first
	if p == fault.JournalRoom {
		last += rapid.IntRange(1, 6).Draw(w.rt, "more hits")
	}
	fault.Arm(fmt.Sprintf("%s=error@%d-%d", p, first, last))
}

// checkpoint makes one, or a part of one, while programs act or do not.
func (w *chaos) checkpoint() {
	w.threaten()
	stormy := w.oneIn(4, "storm")
	w.sky.with(func() { w.sky.stormy = stormy })
	trigger := rapid.SampledFrom([]Trigger{Now, Policy, Timer, End}).Draw(w.rt, "trigger")
	rapid.SampledFrom([]action{
		{"whole", 1, func(w *chaos) { w.wholeCheckpoint(trigger) }},
		{"with a pause", 1, func(w *chaos) { w.pausedCheckpoint(trigger) }},
		{"sealed only", 1, func(w *chaos) { w.sealOnly(trigger) }},
		{"beside programs", 1, func(w *chaos) { w.besidePrograms(trigger) }},
	}).Draw(w.rt, "kind").do(w)
	if w.oneIn(2, "commit what is left") {
		w.in.commitLeft(w.t.Context())
	}
	w.sky.with(func() { w.sky.stormy = false })
}

func (w *chaos) wholeCheckpoint(t Trigger) {
	scraps, files := w.finished(t)
	c, err := w.in.checkpoint(w.t.Context(), t)
	w.rt.Logf("checkpoint %d: %v", c.ID, err)
	if err == nil {
		w.covered(c, scraps, files)
	}
}

func (w *chaos) pausedCheckpoint(t Trigger) {
	c, err := w.in.prepare(w.t.Context(), t)
	w.rt.Logf("prepare: %v", err)
	if c == nil || err != nil {
		w.in.declined(w.t.Context(), c, err)
		return
	}
	w.someActions()
	_, err = w.in.complete(w.t.Context(), c)
	w.rt.Logf("complete: %v", err)
}

func (w *chaos) sealOnly(t Trigger) {
	h, err := w.in.barrier(w.t.Context(), w.in.begin(t))
	w.rt.Logf("barrier: %v", err)
	w.someActions()
	if err == nil {
		err = w.in.seal(w.t.Context(), h)
		w.rt.Logf("seal: %v", err)
	}
}

// besidePrograms gives programs their turn at a call of the store.
func (w *chaos) besidePrograms(t Trigger) {
	scraps, _ := w.finished(t)
	calls := rapid.IntRange(1, 4).Draw(w.rt, "calls")
	w.sky.with(func() { w.sky.until = calls })
	done := make(chan struct{})
	var c journal.Checkpoint
	var err error
	go func() {
		defer close(done)
		c, err = w.in.checkpoint(w.t.Context(), t)
	}()
	select {
	case over := <-w.sky.turn:
		func() {
			defer func() { close(over); <-done }()
			w.someActions()
		}()
	case <-done:
	}
	w.sky.with(func() { w.sky.until = 0 })
	w.rt.Logf("checkpoint %d: %v", c.ID, err)
	if err == nil {
		w.covered(c, scraps)
	}
}

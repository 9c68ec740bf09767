package lifecycle

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"time"

	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// houseInterval is how often what nobody waits for is looked at.
const houseInterval = 5 * time.Second

// checkIntervals are the distinct check intervals of the sinks.
func (in *Instance) checkIntervals() iter.Seq[time.Duration] {
	set := map[time.Duration]bool{}
	for _, s := range in.sinks {
		set[s.Rolling.CheckInterval] = true
	}
	return maps.Keys(set)
}

// checkRolling looks at the ages of open segments, as Flink's timer does.
func (in *Instance) checkRolling(ctx context.Context, every time.Duration) error {
	t := newTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			in.roll(every, in.now())
		}
	}
}

// roll seals what is overdue in the sinks of one check interval.
func (in *Instance) roll(every time.Duration, now time.Time) {
	for _, s := range in.allSources() {
		if s.sink.Rolling.CheckInterval != every || s.node.Kind() != spool.Stream {
			continue
		}
		if err := in.rollSource(s, now); err != nil {
			in.log.Error("source cannot be read", slog.String("path", s.node.Path()), slog.Any("error", err))
		}
	}
}

func (in *Instance) rollSource(s *source, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil
	}
	if s.mayHaveGrown() {
		if _, err := s.observe(now); err != nil {
			return err
		}
	}
	if s.cut == nil {
		return nil
	}
	r := &reader{node: s.node}
	defer r.Close()
	if err := s.cut.tick(r, now); err != nil {
		return err
	}
	if s.cut.current == nil && s.cut.tail() > 0 && now.Sub(s.wrote) >= s.sink.Rolling.InactivityInterval && in.idle(s) {
		return in.breakAt(s, now) // nobody can end the record
	}
	return nil
}

// keepHouse removes what has had its time, and raises the alarm.
func (in *Instance) keepHouse(ctx context.Context) error {
	t := newTicker(houseInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			in.clean()
			in.checkAlarm()
		}
	}
}

func (in *Instance) clean() {
	in.mu.Lock()
	lingering := make([]*source, 0, len(in.lingering))
	for s := range in.lingering {
		lingering = append(lingering, s)
	}
	in.mu.Unlock()
	in.removeAll(lingering)
	in.sweep()
	in.reserve.fill()
	short := in.shortOfSpace()
	var over []*source
	for _, s := range in.allSources() {
		if in.expire(s) || short && s.node.Kind() == spool.Stream && in.releaseStream(s, true) {
			over = append(over, s)
		}
	}
	in.removeAll(over)
}

// expire takes the name of a source away that nobody has used for the ttl and
// of which everything is finished, and of scratch that is empty; it is to be
// removed then.
func (in *Instance) expire(s *source) bool {
	in.names.Lock()
	defer in.names.Unlock()
	s.mu.Lock()
	expired := in.expired(s)
	path := s.node.Path()
	var err error
	if expired {
		if err = in.unname(s); err == nil {
			s.gone = true
		}
	}
	s.mu.Unlock()
	if err != nil {
		in.log.Warn("source past its ttl stays", slog.String("path", path), slog.Any("error", err))
	}
	return expired && err == nil
}

// expired is called with s.mu held.
func (in *Instance) expired(s *source) bool {
	last := s.touched
	if s.finishedAt.After(last) { // an outage may be longer than the ttl
		last = s.finishedAt
	}
	if s.gone || s.handles > 0 || s.node.Unlinked() || in.now().Sub(last) < in.cfg.SourceTTL || !in.idle(s) {
		return false
	}
	size, err := s.node.Size()
	if err != nil {
		return false
	}
	switch s.node.Kind() {
	case spool.Stream:
		return size == s.finished.bytes()
	case spool.Scratch:
		return size == 0
	case spool.File, spool.Dir:
	}
	return false
}

// checkAlarm says when nothing was published for long although there is
// something to publish.
func (in *Instance) checkAlarm() {
	if in.cfg.Batch {
		return
	}
	oldest := in.oldestUnfinished(in.now()).Seconds()
	in.mu.Lock()
	waited := in.now().Sub(in.succeeded)
	message := ""
	if oldest > in.cfg.AlarmAfter.Seconds() && waited > in.cfg.AlarmAfter {
		message = fmt.Sprintf("no checkpoint has succeeded since %s and the oldest unfinished record is %d s old: see last_error, or trigger one",
			in.succeeded.UTC().Format(time.RFC3339), int(oldest))
	}
	rising := message != "" && in.alarm == ""
	in.alarm = message
	in.mu.Unlock()
	if rising {
		in.log.Error("alarm", slog.String("reason", message))
		in.events.alarm(message)
	}
}

// oldestUnfinished is the age of the oldest record seen that is not finished.
func (in *Instance) oldestUnfinished(now time.Time) time.Duration {
	var oldest time.Duration
	for _, p := range in.selectParts(func(*part) bool { return true }) {
		oldest = max(oldest, now.Sub(p.Sealed))
	}
	for _, s := range in.allSources() {
		s.mu.Lock()
		oldest = max(oldest, s.age(now))
		s.mu.Unlock()
	}
	return oldest
}

// age is how long the oldest record of the source is in no part. s.mu is held.
func (s *source) age(now time.Time) time.Duration {
	var oldest time.Duration
	switch {
	case s.gone:
	case s.node.Kind() == spool.File && s.part == nil:
		oldest = now.Sub(s.touched)
	case s.cut != nil:
		for _, g := range s.cut.segments() {
			oldest = max(oldest, now.Sub(g.born))
		}
	}
	return oldest
}

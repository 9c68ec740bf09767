package lifecycle

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// Event is one line of the events file.
type Event struct {
	Seq        uint64              `json:"seq"`
	Type       string              `json:"type"` // part, checkpoint, scratch, alarm, restaged, missed
	Time       time.Time           `json:"time"`
	Part       *PartStatus         `json:"part,omitempty"`
	Checkpoint *journal.Checkpoint `json:"checkpoint,omitempty"`
	Path       string              `json:"path,omitempty"`
	Message    string              `json:"message,omitempty"`
	Missed     uint64              `json:"missed,omitempty"` // events that a slow reader did not get
}

// backlog is how much a slow reader may be behind: events, and hundreds of
// sources in them.
const backlog = 10_000

func (e Event) weight() int {
	if e.Part == nil {
		return 1
	}
	return 1 + len(e.Part.Sources)/100
}

// events hands what happens to whoever listens. It never waits for a reader.
type events struct {
	mu     sync.Mutex
	seq    uint64
	now    func() time.Time
	subs   map[*Subscription]bool
	closed bool
}

func newEvents(now func() time.Time) *events {
	return &events{now: now, subs: map[*Subscription]bool{}}
}

func (e *events) send(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seq++
	ev.Seq, ev.Time = e.seq, e.now().UTC()
	for s := range e.subs {
		s.push(ev)
	}
}

func (e *events) part(p PartStatus) { e.send(Event{Type: "part", Part: &p}) }

func (e *events) checkpoint(c journal.Checkpoint) { e.send(Event{Type: "checkpoint", Checkpoint: &c}) }

func (e *events) scratch(path string) { e.send(Event{Type: "scratch", Path: path}) }

func (e *events) alarm(message string) { e.send(Event{Type: "alarm", Message: message}) }

func (e *events) restaged(path, message string) {
	e.send(Event{Type: "restaged", Path: path, Message: message})
}

func (e *events) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	for s := range e.subs {
		s.notify()
	}
}

// Subscription yields events from its start on.
type Subscription struct {
	events *events
	wake   chan struct{}
	queue  []Event // guarded by events.mu, as are the others
	weight int     // of queue
	missed uint64
}

// Subscribe begins a subscription. The caller closes it.
func (in *Instance) Subscribe() *Subscription {
	e := in.events
	s := &Subscription{events: e, wake: make(chan struct{}, 1)}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.subs[s] = true
	return s
}

func (s *Subscription) push(ev Event) {
	if s.weight >= backlog {
		s.missed += uint64(len(s.queue))
		s.queue, s.weight = nil, 0
	}
	s.queue = append(s.queue, ev)
	s.weight += ev.weight()
	s.notify()
}

func (s *Subscription) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Next waits for the next event: the context's error when it ends, io.EOF
// after the instance closed.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		if ev, ok, closed := s.pop(); ok {
			return ev, nil
		} else if closed {
			return Event{}, io.EOF
		}
		select {
		case <-ctx.Done():
			return Event{}, ctx.Err()
		case <-s.wake:
		}
	}
}

func (s *Subscription) pop() (ev Event, ok, closed bool) {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	if s.missed > 0 && len(s.queue) > 0 {
		ev = Event{Type: "missed", Missed: s.missed, Seq: s.queue[0].Seq - 1, Time: s.queue[0].Time}
		s.missed = 0
		return ev, true, false
	}
	if len(s.queue) > 0 {
		ev, s.queue = s.queue[0], s.queue[1:]
		s.weight -= ev.weight()
		return ev, true, false
	}
	return ev, false, s.events.closed
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	delete(s.events.subs, s)
}

package model_test

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sinkfs/sinkfs/test/harness"
)

// crew are the runners of one mount. A checkpoint publishes what all of them
// wrote, so it waits until each of them wants one: a sequence then sees
// checkpoints only where it asked for them, and can be repeated.
type crew struct {
	lab       *harness.Lab
	sequences atomic.Int64 // also numbers their directories
	calls     atomic.Int64

	mu          sync.Mutex
	running     int // runners that have not left
	waiting     int
	meeting     *meeting
	checkpoints int
	publishing  time.Duration
	answers     map[string]int // how often each call answered what
}

// meeting is one checkpoint for all who wait.
type meeting struct {
	over chan struct{}
	err  error
}

func newCrew(l *harness.Lab, runners int) *crew {
	return &crew{lab: l, running: runners, answers: map[string]int{}, meeting: &meeting{over: make(chan struct{})}}
}

// checkpoint returns when all others want one too and it is done.
func (c *crew) checkpoint() error {
	c.mu.Lock()
	m := c.meeting
	c.waiting++
	c.hold()
	c.mu.Unlock()
	<-m.over
	return m.err
}

// leave is called by a runner that wants no more checkpoints.
func (c *crew) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	c.hold()
}

// hold holds the meeting if everybody is there. c.mu is held.
func (c *crew) hold() {
	if c.waiting == 0 || c.waiting < c.running {
		return
	}
	began := time.Now()
	c.meeting.err = c.lab.Checkpoint()
	c.publishing += time.Since(began)
	c.checkpoints++
	close(c.meeting.over)
	c.meeting, c.waiting = &meeting{over: make(chan struct{})}, 0
}

// answered counts an answer.
func (c *crew) answered(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers[what]++
}

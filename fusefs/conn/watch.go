package conn

import "time"

const (
	// tick is how long answers may keep others waiting that did not say so
	// (Slow), at most twice. Ticks of 2 ms cost a seventh of the speed of
	// small calls.
	tick = 10 * time.Millisecond
	// restAfter so many ticks without a request, watch sleeps.
	restAfter = 5
)

// watch starts another receiver when the answers of all that there are take
// long: they wait for the disk, or for another call. It runs while requests
// come, until the connection ends: there is nothing to receive then.
func (c *Conn) watch() {
	timer := time.NewTimer(tick)
	defer timer.Stop()
	for {
		select {
		case <-c.woken:
		case <-c.over:
			return
		}
		seen := c.observe(timer)
		c.resting.Store(true)
		if c.requests.Load() != seen {
			c.wake() // who answers now may have looked before
		}
	}
}

// observe returns how many requests it saw, when somebody has waited in vain
// for another one for a while.
func (c *Conn) observe(timer *time.Timer) (seen uint64) {
	for quiet := 0; quiet < restAfter; quiet++ {
		seen = c.requests.Load()
		timer.Reset(tick)
		select {
		case <-timer.C:
		case <-c.over:
			return seen
		}
		switch {
		case c.requests.Load() != seen:
			quiet = 0
		case c.waiting.Load() == 0:
			quiet = 0
			c.another()
		}
	}
	return seen
}

// wake has watch look again.
func (c *Conn) wake() {
	if c.resting.Load() && c.resting.CompareAndSwap(true, false) {
		c.woken <- struct{}{}
	}
}

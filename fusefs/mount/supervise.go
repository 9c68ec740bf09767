package mount

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"syscall"
	"time"
)

const (
	defaultYoungAge = 2 * time.Second
	defaultYoungMax = 8
	retireTime      = 10 * time.Second // to reach a safe point before a replaced worker is killed
	hasteTime       = 2 * time.Second  // from the second signal to the end
)

// supervisor is a mount and whoever serves it. All fields belong to the
// goroutine of Supervise.
type supervisor struct {
	o      *Options
	log    *slog.Logger
	point  *point
	conn   *connection // nil before the mount is made, and while it is made anew
	memory *os.File    // of the connection, or of the one to come
	child  *child      // nil while none runs

	events   chan event
	requests chan *client
	probed   chan probed
	control  *controlServer
	again    *time.Timer // starts the next worker
	kill     *time.Timer // ends a worker that takes too long

	mounted  bool     // the mount answered once
	gone     bool     // somebody else unmounted
	draining *message // the order in force, nil before the end of input
	hasty    bool     // a second signal came
	retiring bool     // the worker was told to make room
	probing  bool
	remount  bool    // the next worker gets a new connection
	young    int     // workers in a row that died young by themselves
	quick    int     // workers in a row that were killed young
	leaving  *result // what it will be once the worker is dead
	result   *result

	unmounters []*client
	replacers  []*client
}

type result struct {
	code int
	err  error
}

func errAttr(err error) slog.Attr { return slog.Any("error", err) }

// Supervise mounts and returns when the mount is gone for good: the exit code
// of the mount command, and why when there is something to say. It keeps one
// thread for itself. When ctx ends, everything ends at once.
func Supervise(ctx context.Context, o Options) (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s, err := newSupervisor(&o)
	if err != nil {
		return CodeMount, err
	}
	if err := s.begin(); err != nil {
		s.finish(CodeMount, err, false)
	} else {
		s.start()
	}
	for s.result == nil {
		s.step(ctx)
	}
	return s.result.code, s.result.err
}

func newSupervisor(o *Options) (*supervisor, error) {
	if o.YoungAge == 0 {
		o.YoungAge = defaultYoungAge
	}
	if o.YoungMax == 0 {
		o.YoungMax = defaultYoungMax
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Lock == nil {
		return nil, errors.New("no state directory")
	}
	s := &supervisor{
		o: o, log: o.Log,
		// A worker that talks while we are busy must not wait for us to
		// begin a step that waits for it.
		events: make(chan event, 64), requests: make(chan *client), probed: make(chan probed, 1),
		again: stoppedTimer(), kill: stoppedTimer(),
	}
	return s, nil
}

func stoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// begin prepares what outlives all workers.
func (s *supervisor) begin() error {
	if err := s.resume(); err != nil {
		return err
	}
	var err error
	if s.point == nil {
		if s.point, err = preparePoint(s.o); err != nil {
			return err
		}
	}
	if err := s.o.Lock.write(Holder{PID: os.Getpid(), Mountpoint: s.point.path}); err != nil {
		return err
	}
	if s.control == nil {
		s.control, err = listenControl(s.o.Lock.Dir(), s.requests, s.log)
	}
	return err
}

// step does one thing.
func (s *supervisor) step(ctx context.Context) {
	select {
	case e := <-s.events:
		s.onEvent(ctx, e)
	case sig := <-s.o.Signals:
		s.onSignal(ctx, sig)
	case c := <-s.requests:
		s.onRequest(ctx, c)
	case p := <-s.probed:
		s.onProbed(p)
	case <-s.again.C:
		s.start()
	case <-s.kill.C:
		s.onLate()
	case <-ctx.Done():
		s.leave(CodeUnpublished, context.Cause(ctx))
	}
}

// start starts the next worker; a worker that cannot be started is one that
// died young.
func (s *supervisor) start() {
	s.again.Stop() // it is now
	if s.remount {
		s.remount = false
		s.dropConnection()
	}
	c, err := s.spawn()
	if err != nil {
		s.log.Error("worker not started", errAttr(err))
		s.died(&child{started: time.Now()}, err.Error())
		return
	}
	s.child = c
	if s.draining != nil {
		s.order(*s.draining)
	}
}

// dropConnection gives up a connection that cannot be served any more: who
// has files open gets ENOTCONN.
func (s *supervisor) dropConnection() {
	if s.conn != nil {
		if err := errors.Join(s.conn.detach(), s.conn.close()); err != nil {
			s.log.Error("old mount not detached", errAttr(err))
		}
		s.conn = nil
	}
	if s.memory != nil {
		if err := s.memory.Close(); err != nil {
			s.log.Error("memory of the workers not closed", errAttr(err))
		}
		s.memory = nil
	}
}

// order tells the worker. One that is dying does not hear it; its successor
// will.
func (s *supervisor) order(m message) {
	if s.child == nil {
		return
	}
	if err := s.child.link.write(m, nil); err != nil {
		s.log.Debug("worker does not listen", slog.String("order", string(m.Kind)), errAttr(err))
	}
}

// leave ends everything without asking the worker.
func (s *supervisor) leave(code int, err error) {
	if s.leaving != nil {
		return
	}
	s.leaving = &result{code: code, err: err}
	if s.child == nil || s.child.process == nil {
		s.finish(code, err, s.draining != nil)
		return
	}
	s.killChild()
}

func (s *supervisor) killChild() {
	if s.child == nil || s.child.process == nil {
		return
	}
	if err := s.child.process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.log.Error("worker not killed", slog.Int("pid", s.child.pid), errAttr(err))
	}
}

// finish takes the mount away and says how it all ended. After a clean end
// the mountpoint is an ordinary directory again; otherwise it goes on
// refusing writes until the next mount.
func (s *supervisor) finish(code int, err error, clean bool) {
	s.again.Stop()
	s.kill.Stop()
	if s.conn != nil {
		if e := s.conn.detach(); e != nil {
			s.log.Error("mount not detached", errAttr(e))
		}
	}
	s.dropConnection()
	if s.point != nil {
		if clean {
			if e := s.point.restore(); e != nil {
				s.log.Warn("mountpoint not restored", errAttr(e))
			}
		}
		if e := s.point.close(); e != nil {
			s.log.Warn("mountpoint not closed", errAttr(e))
		}
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	for _, c := range append(s.unmounters, s.replacers...) {
		c.end(code, text)
	}
	if s.control != nil {
		s.control.close()
	}
	s.result = &result{code: code, err: err}
}

// killedDelay is the longest wait after a worker that was killed from outside:
// that says nothing against the next one, and is no reason to give up. It is
// there for the kernel that kills for want of memory, again and again.
const killedDelay = 200 * time.Millisecond

// countDeath counts and says how long to wait.
func (s *supervisor) countDeath(c *child) time.Duration {
	if time.Since(c.started) >= s.o.YoungAge {
		s.young, s.quick = 0, 0
	}
	if c.killed {
		if c.served {
			s.young = 0
		}
		s.quick++
		return min(delay(s.quick), killedDelay)
	}
	s.young++
	return delay(s.young)
}

// delay is how long to wait after so many young deaths in a row: nothing
// after the first, writers wait for us.
func delay(young int) time.Duration {
	if young <= 1 {
		return 0
	}
	return min(100*time.Millisecond<<min(young-2, 10), 5*time.Second)
}

// refused says whether the worker ended with a reason that people mend while
// the mount stands: the configuration, the state directory, the target.
// Programs wait for that; a worker that just dies will not get better.
func (c *child) refused() bool {
	return c.last != nil && c.last.Kind == kindFail && c.last.Code != CodeFailed && c.last.Code != CodeMount
}

// died decides what follows an end that nobody asked for.
func (s *supervisor) died(c *child, how string) {
	var failed string
	code := CodeFailed
	if c.last != nil && c.last.Kind == kindFail {
		code, failed = c.last.Code, c.last.Text
	}
	if !s.mounted {
		if failed == "" {
			failed = "the worker ended before the mount was made: " + how
		}
		s.finish(code, errors.New(failed), s.draining != nil)
		return
	}
	wait := s.countDeath(c)
	if failed == "" {
		failed = how
	}
	if s.young >= s.o.YoungMax {
		err := fmt.Errorf("%d workers in a row died within %v, the last one: %s", s.young, s.o.YoungAge, failed)
		if s.draining != nil || !c.refused() {
			s.finish(code, fmt.Errorf("%w; the mount at %s is given up, what was written is kept in %s", err, s.point.path, s.o.Lock.Dir()), false)
			return
		}
		if len(s.replacers) > 0 {
			s.refuseReplace(err.Error())
		}
	}
	s.log.Error("worker ended, starting another; writers wait", slog.String("reason", failed), slog.Int("pid", c.pid), slog.Duration("in", wait), slog.Int("in_a_row", max(s.young, s.quick)))
	s.again.Reset(wait)
}

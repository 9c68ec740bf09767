package mount

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"syscall"
	"time"
)

// onEvent is told what a worker did. Messages of one worker arrive in order,
// its end last.
func (s *supervisor) onEvent(ctx context.Context, e event) {
	if e.from != s.child {
		return
	}
	if e.ended {
		s.onEnd(ctx, e.from, e.how)
		return
	}
	switch m := e.msg; m.Kind {
	case kindReady:
		s.onReady()
	case kindAnswer:
		s.onAnswer(m.Init)
	case kindServing:
		s.onServing()
	case kindGone:
		s.onGone()
	case kindProgress:
		s.onProgress(Progress{Text: m.Text, Bytes: m.Bytes, Parts: m.Parts})
	case kindDetach:
		s.onDetach()
	case kindRefuse, kindFail, kindDone:
		s.child.last = &m
	case kindServe, kindAgreed, kindDiffers, kindDrain, kindRetire, kindDetached:
		fallthrough // ours to say
	default:
		s.log.Warn("worker said what is not known", slog.String("kind", string(m.Kind)))
	}
}

// onReady mounts, unless there is a mount already, and gives the connection
// to the worker.
func (s *supervisor) onReady() {
	if s.conn == nil {
		conn, err := connect(s.point, s.o)
		if err != nil {
			s.leave(CodeMount, err)
			return
		}
		s.conn = conn
	}
	m := message{Kind: kindServe, TakeOver: s.conn.answer != nil, Init: s.conn.init}
	if err := s.child.link.write(m, s.conn.dev); err != nil {
		s.log.Debug("worker does not take the connection", errAttr(err))
	}
}

func (s *supervisor) onAnswer(answer []byte) {
	same, err := s.conn.agree(answer)
	switch {
	case err != nil && s.conn.alive():
		s.leave(CodeMount, err)
	case err != nil: // unmounted before it was served
		s.onGone()
	case same:
		s.order(message{Kind: kindAgreed})
	default:
		s.order(message{Kind: kindDiffers})
	}
}

func (s *supervisor) onServing() {
	s.child.served = true
	s.log.Info("worker serves", slog.Int("pid", s.child.pid), slog.Duration("after", time.Since(s.child.started)))
	if err := s.point.protect(s.o.Protect); err != nil {
		s.log.Warn("mountpoint not protected", errAttr(err))
	}
	if !s.mounted {
		s.mounted = true
		if s.o.Mounted != nil {
			s.o.Mounted()
		}
	}
	for _, c := range s.replacers {
		c.end(0, "")
	}
	s.replacers = nil
}

// onGone is told that the connection ended although nobody asked us.
func (s *supervisor) onGone() {
	switch {
	case s.draining != nil, s.conn == nil:
		return // the last file was closed after our own detach
	case mounted(s.conn.device):
		// Somebody aborted it; the mount is there and dead.
		s.log.Warn("the connection was aborted, mounting anew; open files are lost to their programs")
		s.remount = true
		s.retire()
	default:
		s.log.Info("unmounted by somebody else, publishing what is left")
		s.gone = true
		s.drain(message{Kind: kindDrain, Gone: true})
	}
}

func (s *supervisor) onProgress(p Progress) {
	if s.o.Progress != nil {
		s.o.Progress(p)
	}
	for _, c := range s.unmounters {
		c.progress(p)
	}
}

func (s *supervisor) onDetach() {
	m := message{Kind: kindDetached}
	if s.conn != nil {
		limit := openTime
		if s.hasty {
			limit = openTimeHaste
			s.kill.Reset(hasteTime) // it hears us
		}
		m.Open = OpenBelow(s.point.path, limit)
		if err := s.conn.detach(); err != nil {
			m.Text = err.Error()
		}
	}
	s.order(m)
}

// onEnd decides what follows the end of the worker.
func (s *supervisor) onEnd(ctx context.Context, c *child, how string) {
	s.child = nil
	s.kill.Stop()
	if err := c.link.close(); err != nil {
		s.log.Debug("link to the worker not closed", errAttr(err))
	}
	said, room := kind(""), s.retiring
	s.retiring = false
	if c.last != nil {
		said = c.last.Kind
	}
	switch {
	case s.leaving != nil:
		s.finish(s.leaving.code, s.leaving.err, s.draining != nil)
	case room && said != kindFail:
		if s.becomeNew(ctx); s.result == nil {
			s.start()
		}
	case said == kindDone:
		var err error
		if c.last.Text != "" {
			err = errors.New(c.last.Text)
		}
		s.finish(c.last.Code, err, true)
	case said == kindRefuse:
		s.log.Warn("the connection cannot be taken over, mounting anew; open files are lost to their programs", slog.String("reason", c.last.Text))
		s.remount = true
		s.died(c, c.last.Text)
	case s.o.InProcess != nil && said == "":
		s.finish(CodeFailed, errors.New("the mount ended for no known reason"), false)
	default:
		s.died(c, how)
	}
}

// onSignal is told what people and service managers want.
func (s *supervisor) onSignal(ctx context.Context, sig os.Signal) {
	switch sig {
	case syscall.SIGTERM, os.Interrupt:
		s.drain(message{Kind: kindDrain})
	case syscall.SIGHUP:
		if s.o.Reopen != nil {
			s.o.Reopen()
		}
		if s.child != nil && s.child.process != nil {
			if err := s.child.process.Signal(sig); err != nil {
				s.log.Debug("worker not told to reopen logs", errAttr(err))
			}
		}
	case syscall.SIGUSR2:
		s.replace(ctx, ask{})
	}
}

// drain begins the end; asked again, it ends at once.
func (s *supervisor) drain(m message) {
	switch {
	case s.draining != nil:
		s.haste()
		return
	case !s.mounted:
		s.leave(CodeFailed, errors.New("stopped before the mount was made"))
		return
	}
	s.draining = &m
	if s.o.Stopping != nil {
		s.o.Stopping()
	}
	if s.child == nil {
		s.again.Reset(0) // no pause before the last worker
	}
	s.order(m)
}

// haste ends a drain that takes too long: first by asking, then by force.
// Nothing is lost either way.
func (s *supervisor) haste() {
	if s.hasty {
		s.leave(CodeUnpublished, errHaste)
		return
	}
	s.hasty = true
	s.draining.NoDrain = true
	s.order(*s.draining)
	s.kill.Reset(hasteTime)
}

var errHaste = errors.New("stopped before everything was published; the next mount goes on")

// onLate ends a worker that was given time.
func (s *supervisor) onLate() {
	switch {
	case s.draining != nil && s.hasty:
		s.leave(CodeUnpublished, errHaste)
	case s.retiring:
		s.log.Warn("worker does not make room, killing it; the next one goes on")
		s.killChild()
	}
}

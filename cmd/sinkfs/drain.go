package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sinkfs/sinkfs/fusefs/mount"
	"github.com/sinkfs/sinkfs/lifecycle"
)

func errAttr(err error) slog.Attr { return slog.Any("error", err) }

// engine is what runs while a worker lives.
type engine struct {
	group *errgroup.Group
	ended <-chan struct{} // closed when a part of it failed
	stop  context.CancelFunc
}

// start runs the parts until stop is called or one of them fails.
func start(ctx context.Context, parts ...func(context.Context) error) *engine {
	ctx, stop := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range parts {
		group.Go(func() error { return part(ctx) })
	}
	return &engine{group: group, ended: ctx.Done(), stop: stop}
}

// end stops everything and waits for it.
func (e *engine) end() error {
	e.stop()
	return e.group.Wait()
}

// obey waits for orders while the mount is served.
func (w *work) obey(ctx context.Context, e *engine, served <-chan error) error {
	for {
		select {
		case o := <-w.Orders():
			if o.Kind == mount.Drain {
				return w.drain(ctx, o, e)
			}
			// Whatever is under way comes to a point that the next worker
			// goes on from. The instance is not closed: requests are
			// answered until this process ends.
			return errors.Join(e.end(), w.Done(codeDone, ""))
		case err := <-served:
			if err != nil {
				return err
			}
			served = nil // the supervisor knows, and decides
		case <-e.ended:
			return errors.Join(e.end(), ctx.Err())
		}
	}
}

// runDetached publishes what a mount left that somebody else unmounted.
func (w *work) runDetached(ctx context.Context) error {
	e := start(ctx, w.in.Run)
	defer e.stop()
	for {
		select {
		case o := <-w.Orders():
			if o.Kind == mount.Drain {
				return w.drain(ctx, o, e)
			}
			return errors.Join(e.end(), w.in.Close(), w.Done(codeDone, ""))
		case <-e.ended:
			return errors.Join(e.end(), ctx.Err())
		}
	}
}

// drain is the end of input: publish, unmount, count what is left.
func (w *work) drain(ctx context.Context, o mount.Order, e *engine) error {
	published := w.publish(ctx, o)
	var detached error
	if !o.Gone {
		var open mount.Open
		open, detached = w.Detach()
		if open.Count > 0 {
			w.log.Warn("unmounted with open files; what they write from now on waits for the next mount", slog.String("open", open.String()))
		}
	}
	running := e.end()
	left, lost := w.in.Unpublished(), len(w.in.Status().Lost) > 0
	if err := errors.Join(running, w.in.Close()); err != nil {
		w.log.Error("not everything ended as it should", errAttr(err))
	}
	switch {
	case left.None() && detached != nil:
		return w.Done(codeMount, message(detached))
	case left.None() && lost && errors.Is(published, lifecycle.ErrIncomplete):
		return w.Done(codeFailed, message(published))
	case left.None():
		return w.Done(codeDone, "")
	}
	text := fmt.Sprintf("%s not yet published (%d open for writing), kept in %s for the next mount", leftText(left), left.Writers, w.s.cfg.StateDir)
	if published != nil {
		text += ": " + message(published)
	}
	return w.Done(codeUnpublished, text)
}

func leftText(l lifecycle.Left) string {
	empty := plural(int64(l.Empty), "empty file")
	switch {
	case l.Empty == 0:
		return bytesText(l.Bytes)
	case l.Bytes == 0:
		return empty
	}
	return bytesText(l.Bytes) + " and " + empty
}

// progressPause is how often progress is reported.
const progressPause = time.Second

// publish makes the last checkpoint, unless it is told not to, before or
// meanwhile.
func (w *work) publish(ctx context.Context, o mount.Order) error {
	if o.NoDrain {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.Timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	done := make(chan error, 1)
	go func() {
		_, err := w.in.Checkpoint(ctx, lifecycle.Unmount)
		done <- err
	}()
	tick := time.NewTicker(progressPause)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case more := <-w.Orders():
			if more.Kind != mount.Drain || more.NoDrain {
				cancel()
				return errors.Join(<-done, errors.New("stopped while it was publishing"))
			}
		case <-tick.C:
			w.report()
		}
	}
}

// report says how far the last checkpoint is.
func (w *work) report() {
	p := mount.Progress{Text: "publishing"}
	p.Bytes = w.in.Unpublished().Bytes
	for state, n := range w.in.Status().Counts {
		if state != "finished" {
			p.Parts += n.Parts
		}
	}
	if err := w.Say(p); err != nil {
		w.log.Debug("progress not reported", errAttr(err))
	}
}

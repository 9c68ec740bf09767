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

func slogString(k, v string) slog.Attr { return slog.String(k, v) }

// obey waits for orders while the mount is served. running ends when
// something of the group fails; stop ends the group.
func (w *work) obey(ctx context.Context, group *errgroup.Group, running context.Context, stop context.CancelFunc, served <-chan error) error {
	for {
		select {
		case o := <-w.Orders():
			if o.Kind == mount.Drain {
				return w.drain(ctx, o, group, stop)
			}
			// Whatever is under way comes to a point that the next worker
			// goes on from. The instance is not closed: requests are
			// answered until this process ends.
			stop()
			return errors.Join(group.Wait(), w.Done(codeDone, ""))
		case err := <-served:
			if err != nil {
				return err
			}
			served = nil // the supervisor knows, and decides
		case <-running.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return group.Wait()
		}
	}
}

// runDetached publishes what a mount left that somebody else unmounted.
func (w *work) runDetached(ctx context.Context) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	group, running := errgroup.WithContext(running)
	group.Go(func() error { return w.in.Run(running) })
	for {
		select {
		case o := <-w.Orders():
			if o.Kind == mount.Drain {
				return w.drain(ctx, o, group, stop)
			}
			stop()
			return errors.Join(group.Wait(), w.in.Close(), w.Done(codeDone, ""))
		case <-running.Done():
			return errors.Join(group.Wait(), ctx.Err())
		}
	}
}

// drain is the end of input: publish, unmount, count what is left.
func (w *work) drain(ctx context.Context, o mount.Order, group *errgroup.Group, stop context.CancelFunc) error {
	published := w.publish(ctx, o)
	if !o.Gone {
		open, err := w.Detach()
		if err != nil {
			return fail(codeMount, err)
		}
		if open.Count > 0 {
			w.log.Warn("unmounted with open files; what they write from now on waits for the next mount", slog.String("open", open.String()))
		}
	}
	stop()
	running := group.Wait()
	left, writers := w.in.Unpublished()
	if err := errors.Join(running, w.in.Close()); err != nil {
		w.log.Error("not everything ended as it should", errAttr(err))
	}
	if left == 0 {
		return w.Done(codeDone, "")
	}
	text := fmt.Sprintf("%s not yet published (%d open for writing), kept in %s for the next mount", bytesText(left), writers, w.s.cfg.StateDir)
	if published != nil {
		text += ": " + message(published)
	}
	return w.Done(codeUnpublished, text)
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
	p.Bytes, _ = w.in.Unpublished()
	for state, n := range w.in.Status().Counts {
		if state != "finished" {
			p.Parts += n.Parts
		}
	}
	if err := w.Say(p); err != nil {
		w.log.Debug("progress not reported", errAttr(err))
	}
}

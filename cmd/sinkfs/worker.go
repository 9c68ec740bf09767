package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/cmd/sinkfs/config"
	"github.com/sinkfs/sinkfs/fusefs"
	"github.com/sinkfs/sinkfs/fusefs/mount"
	"github.com/sinkfs/sinkfs/lifecycle"
)

func newWorkerCommand() *cobra.Command {
	f := &mountFlags{}
	cmd := &cobra.Command{
		Use:    "worker [flags] TARGET MOUNTPOINT",
		Short:  "Serve a mount; started by sinkfs mount only",
		Hidden: true,
		Args:   exactArgs("TARGET", "MOUNTPOINT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := mount.Inherit() // before anything else is started
			if err != nil {
				return fail(codeUsage, err)
			}
			if err := f.fromOptions(cmd.Flags()); err != nil {
				return errors.Join(err, w.Fail(codeOf(err), message(err)))
			}
			s, err := f.settings(args)
			if err == nil {
				var log *logger
				if log, err = openLog(f, f.daemon); err == nil {
					defer log.close()
					defer reopenOnHangup(log)()
					runWorker(cmd.Context(), w, f, s, log)
					return nil
				}
			}
			// The supervisor says it; this process ends silently.
			return errors.Join(&exitError{code: codeOf(err)}, w.Fail(codeOf(err), message(err)))
		},
	}
	f.register(cmd.Flags())
	return cmd
}

func reopenOnHangup(log *logger) (stop func()) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-hangup:
				log.reopen()
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(hangup)
		close(done)
		<-ended
	}
}

// work is one worker: an instance, and the mount that it is seen through.
type work struct {
	*mount.Worker
	f   *mountFlags
	s   *settings
	log *logger
	in  *lifecycle.Instance
	fs  *fusefs.FS
}

// runWorker serves until it is told to end, and says how that went.
func runWorker(ctx context.Context, mw *mount.Worker, f *mountFlags, s *settings, log *logger) {
	w := &work{Worker: mw, f: f, s: s, log: log}
	notices := fusefs.NewNotices()
	err := w.open(ctx, notices)
	if err == nil {
		if w.Gone {
			err = w.runDetached(ctx)
		} else {
			err = w.runMounted(ctx, notices)
		}
	}
	switch {
	case errors.Is(err, mount.ErrDiffers):
		err = w.Refuse(message(err))
	case err != nil:
		err = w.Fail(codeOf(err), message(err))
	}
	if err != nil {
		log.Error("the supervisor was not told", errAttr(err))
	}
}

// open opens the store and the instance. Its errors come out before anything
// is mounted, with their exit codes.
func (w *work) open(ctx context.Context, notices *fusefs.Notices) error {
	cfg := w.s.cfg
	c, err := cfg.Lifecycle()
	if err != nil {
		return fail(codeConfig, err)
	}
	c.Log, c.Observer = w.log.Logger, notices.Observer()
	c.UID, c.GID = w.s.owner()
	c.DirMode = w.s.dirMode()
	c.Remedy = remedy(w.f.config, cfg)
	if c.Store, err = openTarget(ctx, cfg, c); err != nil {
		return openedTarget(err)
	}
	w.in, err = lifecycle.Open(ctx, c)
	if err != nil && codeOf(err) == codeFailed {
		err = fail(codeState, err)
	}
	return err
}

// openTarget opens the store, and makes the directory of a local one where it
// is missing and nothing says that it was there before.
func openTarget(ctx context.Context, cfg *config.Config, c lifecycle.Config) (backend.Store, error) {
	if !cfg.TargetMissing() {
		return config.OpenStore(ctx, cfg, c.Log)
	}
	had, err := lifecycle.HadTarget(c)
	switch {
	case err != nil:
		return nil, err
	case had:
		return config.OpenStore(ctx, cfg, c.Log) // which says what is missing
	}
	return config.MakeStore(ctx, cfg, c.Log)
}

func (s *settings) owner() (uid, gid uint32) {
	uid, gid = uint32(os.Geteuid()), uint32(os.Getegid())
	if s.flags.UID != nil {
		uid = *s.flags.UID
	}
	if s.flags.GID != nil {
		gid = *s.flags.GID
	}
	return uid, gid
}

// dirMode is the mode of directories that nobody made; 0 is the default.
func (s *settings) dirMode() uint32 {
	if p := s.flags.DirMode; p != nil {
		return *p
	}
	return 0
}

// newFS makes the file system of the instance.
func (w *work) newFS(ctx context.Context, notices *fusefs.Notices) (*meter, error) {
	text, err := w.s.cfg.Show()
	if err != nil {
		return nil, fail(codeConfig, err)
	}
	gid, err := w.s.cfg.ControlGID()
	if err != nil {
		return nil, fail(codeConfig, err)
	}
	m := newMeter(w.in, func() (string, string) { return w.fs.WritePath() })
	c := fusefs.Config{
		Instance: w.in, Notices: notices, ConfigText: text, Metrics: m.Text, Version: version,
		ControlMode: uint32(w.s.cfg.Control.Mode), ControlGID: gid,
		Passthrough: w.f.passthrough, Memory: w.Memory, Log: w.log.Logger,
	}
	c.UID, c.GID = w.s.owner()
	c.DirMode = w.s.dirMode()
	if p := w.s.flags.Umask; p != nil {
		c.Umask = *p
	}
	w.fs, err = fusefs.New(ctx, c)
	return m, err
}

// runMounted serves the mount until the supervisor wants something else.
func (w *work) runMounted(ctx context.Context, notices *fusefs.Notices) error {
	meter, err := w.newFS(ctx, notices)
	if err != nil {
		return err
	}
	if err := w.Ready(); err != nil {
		return fail(codeMount, err)
	}
	if w.TakeOver {
		if err := w.fs.Adopt(); err != nil {
			return fmt.Errorf("%w: %w", mount.ErrDiffers, err)
		}
	}
	c, err := w.Connect(w.fs, w.fs.MountOptions())
	if err != nil {
		return fail(codeMount, err)
	}
	how, why := w.fs.WritePath()
	if w.f.passthrough == "on" && how != "passthrough" {
		return fail(codeMount, fmt.Errorf("passthrough is on but cannot be used: %s; use --passthrough=auto or mend it", why))
	}
	w.log.Info("mounted", slog.String("write_path", how), slog.String("reason", why))
	e := start(ctx, w.in.Run, w.fs.Run, meter.follow)
	defer e.stop()
	served := make(chan error, 1)
	// Not waited for: what a worker that makes room has in hand stays
	// unanswered, and the next one gets it.
	go func() { served <- w.Serve(c) }()
	return w.obey(ctx, e, served)
}

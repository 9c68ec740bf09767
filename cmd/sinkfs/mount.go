package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sinkfs/sinkfs/cmd/sinkfs/config"
	"github.com/sinkfs/sinkfs/fusefs/mount"
	"github.com/sinkfs/sinkfs/lifecycle"
)

// lockWait is how long a mount, or a command that works on its state directory,
// waits for a predecessor that is going away.
const lockWait = 5 * time.Second

func newMountCommand() *cobra.Command {
	f := &mountFlags{}
	cmd := &cobra.Command{
		Use:   "mount [flags] TARGET MOUNTPOINT",
		Short: "Mount a target: what is written becomes finished part files in it",
		Long: `Mount TARGET at MOUNTPOINT. What programs write below MOUNTPOINT is kept in the
state directory at once, and becomes finished part files in TARGET at the next
checkpoint: by timer, by 'sinkfs checkpoint', or by a line written to
MOUNTPOINT/.sinkfs/checkpoint. TARGET is a directory or file:///dir,
s3://bucket/prefix, oss://bucket/prefix; it may stand in the configuration
instead. A missing last directory of a local target or mountpoint is created.

The command stays in the foreground; with -b it returns when the mount answers.
It supervises a worker that does the work: when that dies, or is upgraded,
programs with open files wait a moment and notice nothing. SIGTERM and SIGINT
publish what is left and unmount, a second one ends at once, SIGHUP reopens the
log file, SIGUSR2 changes to the program that is installed now.

Exit codes: 0 everything published, 4 configuration, 5 cannot mount, 6 state
directory in use or damaged, 7 target unreachable or refused, 8 stopped with
data not yet published, which the next mount goes on with.`,
		Example: `  sinkfs mount /data/target /mnt/sink
  sinkfs mount -b -c /etc/sinkfs/prod.yaml oss://logs/prod /mnt/sink
  sinkfs mount --replace oss://logs/prod /mnt/sink    # after an upgrade`,
		Args: targetAndMountpoint,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.fromOptions(cmd.Flags()); err != nil {
				return err
			}
			if len(args) == 0 {
				return f.missingArgument(cmd)
			}
			return runMount(cmd, f, args)
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().BoolVarP(&f.background, "background", "b", false, "return when the mount answers")
	cmd.Flags().BoolVar(&f.replace, "replace", false, "take over a running mount, after an upgrade or with other flags; mount when there is none")
	cmd.Flags().BoolVar(&f.supervise, "supervise", true, "keep a supervisor, so that writers survive a death or upgrade of the worker")
	cmd.Flags().BoolVar(&f.probe, probeFlag, false, "only say whether it could be started like this")
	_ = cmd.Flags().MarkHidden(probeFlag) // the flag exists
	cmd.Flags().BoolVar(&f.protect, "protect-mountpoint", false, "refuse writes beneath a mount that died until it is back, also in a directory that existed before; an unmount undoes it")
	return cmd
}

// probeFlag is how a supervisor tries a command line before it becomes that: a
// configuration that is not valid must not end a mount that runs.
const probeFlag = "probe"

func probeOf(again []string) []string {
	return slices.Insert(slices.Clone(again), 2, "--"+probeFlag) // after the program and "mount"
}

// targetAndMountpoint refuses too many arguments only: the target may be
// configured, and the configuration named by -o.
func targetAndMountpoint(cmd *cobra.Command, args []string) error {
	if len(args) < 2 {
		return nil
	}
	return exactArgs("TARGET", "MOUNTPOINT")(cmd, args)
}

// missingArgument says which one is, when there is none.
func (f *mountFlags) missingArgument(cmd *cobra.Command) error {
	first := "TARGET"
	if cfg, err := config.Load(f.config, os.Environ(), f.over...); err != nil {
		return fail(codeConfig, err)
	} else if cfg.Target != "" {
		first = "MOUNTPOINT"
	}
	return exactArgs(first)(cmd, nil)
}

// runMount is the whole life of a mount.
func runMount(cmd *cobra.Command, f *mountFlags, args []string) error {
	ctx := cmd.Context()
	resumed, err := mount.ResumedLock()
	if err != nil {
		return fail(codeState, err)
	}
	s, err := f.settings(args)
	if err != nil {
		return err
	}
	if f.probe {
		_, err := s.cfg.Lifecycle()
		return fail(codeConfig, err)
	}
	// A child in the background answers its parent through report, whatever
	// happens.
	report, child := backgroundReport()
	if resumed == nil && !child {
		if f.replace {
			if done, err := replaceRunning(ctx, cmd, f, s); done || err != nil {
				return err
			}
		}
		if f.background {
			return mountInBackground(cmd, f, s)
		}
	}
	err = mountHere(cmd, f, s, resumed, report)
	report(codeOf(err), message(err))
	return err
}

// mountHere mounts in this process and returns when the mount is gone.
// resumed is the lock when this process was the mount before, as another
// program.
func mountHere(cmd *cobra.Command, f *mountFlags, s *settings, resumed *mount.Lock, report reportFunc) error {
	ctx := cmd.Context()
	log, err := openLog(f, f.daemon)
	if err != nil {
		return err
	}
	defer log.close()
	lock := resumed
	if lock == nil {
		if err := s.stateDir(); err != nil {
			return err
		}
		lock, err = mount.LockState(ctx, s.cfg.StateDir, lockWait, mount.Holder{PID: os.Getpid(), Mountpoint: s.mountpoint})
		if err != nil {
			return fail(codeState, err)
		}
	}
	defer lock.Close()
	if err := lifecycle.LendReserve(s.cfg.StateDir); err != nil {
		return fail(codeState, err)
	}
	program, err := installedPath()
	if err != nil {
		return fail(codeFailed, err)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP, syscall.SIGUSR2)
	defer signal.Stop(signals)
	o := mount.Options{
		Worker:     append([]string{program, "worker"}, f.workerLine(cmd.Flags(), s)...),
		Probe:      probeOf,
		Again:      append([]string{program, "mount"}, f.commandLine(cmd.Flags(), s)...),
		Mountpoint: s.mountpoint,
		Source:     s.cfg.Target,
		Flags:      s.flags,
		Protect:    f.protect,
		Lock:       lock,
		Log:        log.Logger,
		Signals:    signals,
		Reopen:     log.reopen,
		Stopping:   func() { notifyManager("STOPPING=1") },
		Progress:   log.progress,
		Mounted: func() {
			notifyReady()
			if !f.daemon {
				printMounted(cmd.OutOrStdout(), s)
			}
			report(codeDone, "")
		},
	}
	if !f.supervise {
		o.InProcess = func(w *mount.Worker) { runWorker(ctx, w, f, s, log) }
	}
	if resumed != nil {
		notifyReady()
	}
	code, err := mount.Supervise(ctx, o)
	if code != codeDone || err != nil {
		return &exitError{code: code, err: err}
	}
	return nil
}

// replaceRunning asks a running mount to become this program with these
// flags; done is false when there is none.
func replaceRunning(ctx context.Context, cmd *cobra.Command, f *mountFlags, s *settings) (done bool, err error) {
	running, err := mount.Query(ctx, s.cfg.StateDir)
	if errors.Is(err, mount.ErrNoSupervisor) {
		return false, nil
	}
	if err != nil {
		return false, fail(codeFailed, err)
	}
	at, err := mount.Resolve(s.mountpoint)
	if err != nil {
		return false, fail(codeMount, err)
	}
	if running.Mountpoint != at {
		return false, fail(codeState, fmt.Errorf("the state directory %s is mounted at %s, not at %s: name that mountpoint, or unmount it", s.cfg.StateDir, running.Mountpoint, at))
	}
	if running.Target != s.cfg.Target {
		return false, fail(codeState, fmt.Errorf("the mount at %s has the target %s, which cannot change to %s while it runs: unmount it first", at, running.Target, s.cfg.Target))
	}
	program, err := installedPath()
	if err != nil {
		return false, fail(codeFailed, err)
	}
	if err := f.keepLog(cmd.Flags(), running.Again); err != nil {
		return false, fail(codeFailed, err)
	}
	args := append([]string{program, "mount"}, f.commandLine(cmd.Flags(), s)...)
	if err := mount.Replace(ctx, s.cfg.StateDir, args); err != nil {
		return false, fail(codeFailed, fmt.Errorf("mount at %s not replaced: %w", at, err))
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s at %s was taken over by %s, programs go on writing\n", s.cfg.Target, at, program)
	return true, err
}

// keepLog gives a mount in the background the log that it has, unless another
// is named.
func (f *mountFlags) keepLog(flags *pflag.FlagSet, running []string) error {
	if !slices.Contains(running, "--daemon=true") {
		return nil
	}
	err := flags.Set("daemon", "true")
	for _, arg := range running {
		if path, ok := strings.CutPrefix(arg, "--log-file="); ok && f.logFile == "" {
			err = errors.Join(err, flags.Set("log-file", path))
		}
	}
	return err
}

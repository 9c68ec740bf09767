package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sinkfs/sinkfs/cmd/sinkfs/config"
	"github.com/sinkfs/sinkfs/fusefs/mount"
)

// mountFlags are what mount and its worker are told on the command line.
type mountFlags struct {
	config      string
	state       string
	interval    string
	timeout     string
	mode        string
	allowOther  bool
	passthrough string
	options     []string

	logFormat string
	logLevel  string
	logFile   string
	daemon    bool // started by -b, also after it became a new program

	// Of the supervisor only.
	background, replace, supervise, protect bool
	probe                                   bool

	over  []config.Override
	flags mount.Flags
}

// supervisorFlags are not the worker's.
var supervisorFlags = []string{"background", "replace", "supervise", "protect-mountpoint"}

// optionFlags are the flags that -o takes too, with _ for -, so that a line of
// fstab can hold them.
var optionFlags = []string{
	"config", "state-dir", "checkpoint-interval", "checkpoint-timeout", "mode", "passthrough",
	"supervise", "protect-mountpoint", "log-format", "log-level", "log-file",
}

func (f *mountFlags) register(flags *pflag.FlagSet) {
	flags.StringVarP(&f.config, "config", "c", "", "read the configuration from this file")
	flags.StringVar(&f.state, "state-dir", "", "keep journal and spool here; default one per user and target")
	flags.StringVar(&f.interval, "checkpoint-interval", "", "time between checkpoints, 0 is only when asked (default 60s)")
	flags.StringVar(&f.timeout, "checkpoint-timeout", "", "longest time of a checkpoint (default 10m)")
	flags.StringVar(&f.mode, "mode", "", "streaming, or batch: publish nothing before the end of input (default streaming)")
	flags.BoolVar(&f.allowOther, "allow-other", os.Geteuid() == 0, "let other users in, by the permissions of the files")
	flags.StringVar(&f.passthrough, "passthrough", "auto", "let the kernel append to the spool by itself: auto, on or off")
	flags.StringArrayVarP(&f.options, "options", "o", nil, "`OPT,…` as mount(8) passes them: ro, uid=, gid=, umask=, dir_mode=, nonempty, …")
	flags.StringVar(&f.logFormat, "log-format", "text", "text or json")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&f.logFile, "log-file", "", "write the log here, SIGHUP reopens it (default stderr; with -b STATE_DIR/log)")
	flags.BoolVar(&f.daemon, "daemon", false, "its standard error is the log")
	_ = flags.MarkHidden("daemon") // the flag exists
}

// fromOptions reads -o, which may set flags too, then checks the flags.
func (f *mountFlags) fromOptions(flags *pflag.FlagSet) error {
	f.flags = mount.DefaultFlags()
	f.flags.AllowOther = f.allowOther
	for _, list := range f.options {
		if err := f.flags.Parse(list); err != nil {
			return fail(codeUsage, err)
		}
	}
	for _, option := range f.flags.Rest {
		if err := setFromOption(flags, option); err != nil {
			return err
		}
	}
	if !slices.Contains([]string{"auto", "on", "off"}, f.passthrough) {
		return usagef("--passthrough %q is not one of its values, write auto, on or off", f.passthrough)
	}
	for _, o := range []config.Override{
		{Key: "state_dir", Value: f.state, Flag: "--state-dir"},
		{Key: "checkpoint.interval", Value: f.interval, Flag: "--checkpoint-interval"},
		{Key: "checkpoint.timeout", Value: f.timeout, Flag: "--checkpoint-timeout"},
		{Key: "mode", Value: f.mode, Flag: "--mode"},
	} {
		if flags.Changed(strings.TrimPrefix(o.Flag, "--")) {
			f.over = append(f.over, o)
		}
	}
	return nil
}

func setFromOption(flags *pflag.FlagSet, option string) error {
	name, value, valued := strings.Cut(option, "=")
	flag := strings.ReplaceAll(name, "_", "-")
	if !slices.Contains(optionFlags, flag) {
		known := mount.Known()
		for _, o := range optionFlags {
			known = append(known, strings.ReplaceAll(o, "-", "_")+"=")
		}
		near, _ := config.Nearest(name, known)
		return usagef("-o %s is not an option known here, the nearest is %q", option, near)
	}
	if flags.Lookup(flag) == nil { // the worker, about the supervisor's
		return nil
	}
	if !valued {
		value = "true"
	}
	if err := flags.Set(flag, value); err != nil {
		return usagef("-o %s: %w", option, err)
	}
	return nil
}

// settings are flags, arguments and configuration together.
type settings struct {
	cfg        *config.Config
	mountpoint string // absolute
	flags      mount.Flags
}

// settings loads the configuration and checks what can be checked before
// anything is touched.
func (f *mountFlags) settings(args []string) (*settings, error) {
	if len(args) == 2 {
		f.over = append(f.over, config.Override{Key: "target", Value: args[0], Flag: "TARGET"})
	}
	cfg, err := config.Load(f.config, os.Environ(), f.over...)
	if err != nil {
		return nil, fail(codeConfig, err)
	}
	if err := cfg.Resolve(); err != nil {
		return nil, fail(codeConfig, err)
	}
	mountpoint, err := filepath.Abs(args[len(args)-1])
	if err != nil {
		return nil, fail(codeMount, err)
	}
	if err := cfg.Separate(mountpoint); err != nil {
		return nil, fail(codeConfig, err)
	}
	return &settings{cfg: cfg, mountpoint: mountpoint, flags: f.flags}, nil
}

// stateDir makes the state directory, for nobody else to look into.
func (s *settings) stateDir() error {
	dir := s.cfg.StateDir
	if err := s.outside(); err != nil {
		return fail(codeState, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(codeState, fmt.Errorf("state directory: %w; choose another with --state-dir", err))
	}
	info, err := os.Stat(dir)
	if err == nil && info.Mode().Perm() != 0o700 {
		err = os.Chmod(dir, 0o700)
	}
	if err != nil {
		return fail(codeState, fmt.Errorf("state directory: %w", err))
	}
	return nil
}

// outside refuses a state or spool directory in a mount of sinkfs, before
// anything is made there.
func (s *settings) outside() error {
	table, err := mount.Table()
	if err != nil {
		return err
	}
	for _, d := range []struct{ what, path, setting string }{
		{"state directory", s.cfg.StateDir, "--state-dir"}, {"spool directory", s.cfg.SpoolDir, "spool_dir"},
	} {
		if d.path == "" {
			continue // in the state directory
		}
		at, err := config.RealPath(d.path)
		if err != nil {
			return fmt.Errorf("%s: %w", d.what, err)
		}
		if e, ok := mount.Containing(table, at); ok && e.Ours() {
			return fmt.Errorf("the %s %s lies in the sinkfs mount at %s, which would publish it: choose one outside of every sinkfs mount with %s",
				d.what, d.path, e.Path, d.setting)
		}
	}
	return nil
}

// commandLine says the same again, independent of the working directory.
func (f *mountFlags) commandLine(flags *pflag.FlagSet, s *settings) []string {
	return f.line(flags, s, "replace")
}

// workerLine is commandLine without what only the supervisor knows.
func (f *mountFlags) workerLine(flags *pflag.FlagSet, s *settings) []string {
	return f.line(flags, s, supervisorFlags...)
}

func (f *mountFlags) line(flags *pflag.FlagSet, s *settings, without ...string) []string {
	var args []string
	flags.Visit(func(flag *pflag.Flag) {
		switch {
		case slices.Contains(without, flag.Name), flag.Name == "state-dir":
		case flag.Name == "options":
			for _, o := range f.options {
				args = append(args, "--options="+o)
			}
		case flag.Name == "config", flag.Name == "log-file":
			args = append(args, "--"+flag.Name+"="+absolute(flag.Value.String()))
		default:
			args = append(args, "--"+flag.Name+"="+flag.Value.String())
		}
	})
	// Resolved: the lock is of this one, whatever the configuration says later.
	return append(args, "--state-dir="+absolute(s.cfg.StateDir), "--", s.cfg.Target, s.mountpoint)
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// installedPath is where the program was found, links kept: after an upgrade
// the new one is there. The running file itself may be gone by then.
func installedPath() (string, error) {
	running, err := os.Executable()
	if err != nil {
		return "", err
	}
	if found, ok := calledPath(); ok {
		return found, nil
	}
	return strings.TrimSuffix(running, " (deleted)"), nil
}

// calledPath is the path that this program was called by, if it still leads
// here.
func calledPath() (string, bool) {
	found, err := exec.LookPath(os.Args[0])
	if err != nil {
		return "", false
	}
	found, err = filepath.Abs(found)
	if err != nil {
		return "", false
	}
	a, errA := os.Stat(found)
	b, errB := os.Stat("/proc/self/exe")
	return found, errors.Join(errA, errB) == nil && os.SameFile(a, b)
}

// printMounted says what to do next. Nobody may be looking.
func printMounted(out io.Writer, s *settings) {
	m := s.mountpoint
	_, _ = fmt.Fprintf(out, `%s is mounted on %s
  write      echo hello >> %s/app.log
  publish    echo > %s/.sinkfs/checkpoint
  look       sinkfs status %s
  stop       Ctrl-C, or sinkfs umount %s; what is left is published first
Finished files appear in %s and below %s.
`, s.cfg.Target, m, m, m, m, m, s.cfg.Target, m)
}

package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Lab is one mount and what belongs to it. Its methods may be used from any
// goroutine, but only one at a time may start or kill.
type Lab struct {
	Binary string
	State  string
	Target string // a directory, unless Store says how to read it
	Store  Shelf
	Mount  string
	Notes  string   // directory for what writers note
	Config string   // file
	Args   []string // more flags of mount
	Env    []string // more environment of the program

	logs  string
	runs  int
	owner *process // nil when none was started or the last is known to be gone
}

// process is a supervisor that the lab started.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // of Wait, once done is closed
}

// NewLab prepares a mount below dir, which must be a directory on a real disk;
// state directory and target may be moved before the first start. All that it
// started is gone when the test ends.
func NewLab(tb testing.TB, binary, dir string) *Lab {
	tb.Helper()
	l := &Lab{
		Binary: binary, State: filepath.Join(dir, "state"), Target: filepath.Join(dir, "target"), Mount: filepath.Join(dir, "mnt"),
		Notes: filepath.Join(dir, "notes"), logs: filepath.Join(dir, "logs"),
	}
	for _, d := range []string{l.Notes, l.logs} {
		if err := os.Mkdir(d, 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	tb.Cleanup(func() {
		if err := l.clear(); err != nil {
			tb.Error(err)
		}
		if tb.Failed() && l.runs > 0 {
			tb.Logf("last log:\n%s", tail(l.logOf(l.runs)))
		}
	})
	return l
}

// Shelf is the target as a reader has it.
func (l *Lab) Shelf() Shelf {
	if l.Store != nil {
		return l.Store
	}
	return Dir(l.Target)
}

// clear takes away what a test left behind.
func (l *Lab) clear() error {
	if l.owner != nil {
		if err := l.owner.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
	}
	if err := l.abort(); err != nil {
		return err
	}
	if l.owner != nil {
		<-l.owner.done
	}
	// A mountpoint whose mount was killed refuses everything.
	out, err := exec.Command("chattr", "-f", "-i", l.Mount).CombinedOutput() //nolint:noctx // when the test is over
	if _, serr := os.Lstat(l.Mount); serr == nil && err != nil {
		return fmt.Errorf("chattr: %w: %s", err, out)
	}
	return nil
}

// abort ends the connection of a mount that may hang: who waits for it gets an
// error. Without it, a process that waits could not even be killed.
func (l *Lab) abort() error {
	for mounted(l.Mount) {
		if err := syscall.Unmount(l.Mount, syscall.MNT_FORCE|syscall.MNT_DETACH); err != nil {
			return fmt.Errorf("detach %s: %w", l.Mount, err)
		}
	}
	return nil
}

// AbortAfter has whoever waits for the mount get an error when ctx ends before
// the returned func is called.
func (l *Lab) AbortAfter(ctx context.Context) (forget func() bool) {
	return context.AfterFunc(ctx, func() { _ = l.abort() }) // the test fails by what it then sees
}

// mounted says whether something is mounted there. It does not touch the path.
func mounted(path string) bool {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	return strings.Contains(string(data), " "+path+" ")
}

func (l *Lab) logOf(run int) string { return filepath.Join(l.logs, fmt.Sprintf("%d.log", run)) }

// Log is what the newest mount has said.
func (l *Lab) Log() string { return tail(l.logOf(l.runs)) }

// Logs is all that all mounts have said.
func (l *Lab) Logs() string {
	var b strings.Builder
	for run := range l.runs {
		data, err := os.ReadFile(l.logOf(run + 1))
		if err == nil {
			b.Write(data)
		}
	}
	return b.String()
}

// place are the flags that name configuration and state.
func (l *Lab) place() []string {
	args := []string{"--state-dir", l.State}
	if l.Config != "" {
		args = append(args, "--config", l.Config)
	}
	return args
}

// Start mounts and waits until the mount answers. An error says that the
// program ended before.
func (l *Lab) Start(ctx context.Context) error {
	l.runs++
	args := append(append([]string{"mount"}, l.place()...), l.Args...)
	args = append(args, l.Target, l.Mount)
	cmd := exec.CommandContext(context.WithoutCancel(ctx), l.Binary, args...)
	cmd.Env = append(os.Environ(), l.Env...)
	log, err := os.Create(l.logOf(l.runs))
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = log, log
	err = cmd.Start()
	if err := errors.Join(err, log.Close()); err != nil {
		return err
	}
	p := &process{cmd: cmd, log: log.Name(), done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	l.owner = p
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := Await(ctx, "mount answers", func() bool { return p.ended() || p.says("is mounted on") }); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(p.log))
	}
	if p.ended() && !p.says("is mounted on") {
		l.owner = nil
		return fmt.Errorf("mount ended: %w\n%s", p.err, tail(p.log))
	}
	return nil
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) says(text string) bool {
	data, err := os.ReadFile(p.log)
	return err == nil && strings.Contains(string(data), text)
}

// Alive says whether the supervisor runs.
func (l *Lab) Alive() bool { return l.owner != nil && !l.owner.ended() }

// run runs a command of the program until it ends.
func (l *Lab) run(ctx context.Context, args ...string) (code int, output string, err error) {
	cmd := exec.CommandContext(ctx, l.Binary, args...)
	cmd.Env = append(os.Environ(), l.Env...)
	out, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return exit.ExitCode(), string(out), nil
	}
	return 0, string(out), err
}

// Audit runs fsck or gc with those flags on the target of a mount that has
// ended.
func (l *Lab) Audit(ctx context.Context, args ...string) (code int, output string, err error) {
	return l.run(ctx, append(append(args, l.place()...), l.Target)...)
}

// Umount ends the mount with a last checkpoint and returns its exit code.
func (l *Lab) Umount(ctx context.Context) (code int, output string, err error) {
	code, out, err := l.run(ctx, "umount", l.Mount)
	if err != nil {
		return 0, out, err
	}
	if l.owner == nil {
		return code, out, nil
	}
	select {
	case <-l.owner.done:
	case <-ctx.Done():
		return code, out, fmt.Errorf("mount does not end after umount: %w\n%s", ErrLate, l.Log())
	}
	if got := l.owner.cmd.ProcessState.ExitCode(); got != code {
		return code, out, fmt.Errorf("umount returned %d, mount %d", code, got)
	}
	l.owner = nil
	return code, out, nil
}

// Checkpoint asks for a checkpoint as a shell does, and waits.
func (l *Lab) Checkpoint() error {
	f, err := os.OpenFile(filepath.Join(l.Mount, ".sinkfs", "checkpoint"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("now\n")
	return errors.Join(err, f.Close())
}

// Answer returns once a worker serves: it asks what only a worker can answer.
func (l *Lab) Answer() error {
	_, err := os.ReadFile(filepath.Join(l.Mount, ".sinkfs", "status"))
	return err
}

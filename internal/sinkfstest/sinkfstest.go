// Package sinkfstest runs the real program for tests: it builds sinkfs once
// and mounts it as an operator would.
package sinkfstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// built builds the program once per test binary; it is left to the system to
// empty the directory of temporary files.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sinkfs-built-")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "sinkfs")
	cmd := exec.Command("go", "build", "-o", program, "github.com/sinkfs/sinkfs/cmd/sinkfs")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(err, errors.New(string(out)))
	}
	return program, nil
})

// Program is the path of the program.
func Program(tb testing.TB) string {
	tb.Helper()
	program, err := built()
	if err != nil {
		tb.Fatal(err)
	}
	return program
}

// Result is how a command ended.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Run runs sinkfs with args until it ends.
func Run(tb testing.TB, args ...string) Result {
	tb.Helper()
	return Command(tb, exec.Command(Program(tb), args...))
}

// Command runs any command until it ends, 2 minutes at most.
func Command(tb testing.TB, cmd *exec.Cmd) Result {
	tb.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	late := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	late.Stop()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		tb.Fatalf("%v: %v", cmd.Args, err)
	}
	return Result{Code: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
}

// Mount is a running mount with a supervisor, gone when the test ends.
type Mount struct {
	tb     testing.TB
	Dir    string // everything is below it
	Point  string
	Target string
	State  string
}

// New mounts with args before target and mountpoint. The timer is off: a
// test says when to publish.
func New(tb testing.TB, args ...string) *Mount {
	tb.Helper()
	m := At(tb, "")
	m.Target = filepath.Join(m.Dir, "target")
	m.Start(args...)
	return m
}

// At is a mount of any target, which Start makes.
func At(tb testing.TB, target string) *Mount {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	m := &Mount{tb: tb, Dir: dir, Point: filepath.Join(dir, "mnt"), Target: target, State: filepath.Join(dir, "state")}
	tb.Cleanup(m.cleanup)
	return m
}

// NewConfigured mounts with a configuration file.
func NewConfigured(tb testing.TB, yaml string, args ...string) *Mount {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "sinkfs.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		tb.Fatal(err)
	}
	return New(tb, append([]string{"-c", file}, args...)...)
}

// Start mounts, again after an Unmount.
func (m *Mount) Start(args ...string) {
	m.tb.Helper()
	line := append([]string{"mount", "-b", "--state-dir", m.State, "--checkpoint-interval", "0"}, args...)
	if r := Run(m.tb, append(line, m.Target, m.Point)...); r.Code != 0 {
		log, _ := os.ReadFile(filepath.Join(m.State, "log"))
		m.tb.Fatalf("mount ended with %d: %s%s%s", r.Code, r.Stdout, r.Stderr, log)
	}
}

func (m *Mount) cleanup() {
	if m.tb.Failed() {
		log, _ := os.ReadFile(filepath.Join(m.State, "log"))
		m.tb.Logf("log of the mount:\n%s", log)
	}
	r := Command(m.tb, exec.Command(Program(m.tb), "umount", "--no-drain", m.Point))
	if r.Code != 0 && r.Code != 5 && r.Code != 8 { // not mounted any more, or not drained
		m.tb.Errorf("umount ended with %d: %s", r.Code, r.Stderr)
	}
	_ = unix.Unmount(m.Point, unix.MNT_DETACH) // if all else failed
}

// Path is a path in the mount.
func (m *Mount) Path(elem ...string) string {
	return filepath.Join(append([]string{m.Point}, elem...)...)
}

// Publish is a checkpoint that has to succeed.
func (m *Mount) Publish() {
	m.tb.Helper()
	if r := Run(m.tb, "checkpoint", m.Point); r.Code != 0 {
		m.tb.Fatalf("checkpoint ended with %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// Shell runs a script with the mountpoint as its working directory and $dir
// as a directory beside it; it has to succeed.
func (m *Mount) Shell(script string) string {
	m.tb.Helper()
	r := m.TryShell(script)
	if r.Code != 0 {
		m.tb.Fatalf("%s\nended with %d: %s%s", script, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// TryShell is Shell for scripts that may fail.
func (m *Mount) TryShell(script string) Result {
	m.tb.Helper()
	beside := filepath.Join(m.Dir, "beside")
	if err := os.MkdirAll(beside, 0o755); err != nil {
		m.tb.Fatal(err)
	}
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = m.Point
	cmd.Env = append(os.Environ(), "dir="+beside, "LC_ALL=C", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	return Command(m.tb, cmd)
}

// Finished are the files of the target, by their path in it, with content.
func (m *Mount) Finished() map[string]string {
	m.tb.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(m.Target, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(p)
		rel, _ := filepath.Rel(m.Target, p)
		files[rel] = string(data)
		return err
	})
	if err != nil {
		m.tb.Fatal(err)
	}
	return files
}

// Records are all lines of all finished files, each with how often it is
// there.
func (m *Mount) Records() map[string]int {
	m.tb.Helper()
	records := map[string]int{}
	for _, text := range m.Finished() {
		for line := range strings.Lines(text) {
			records[strings.TrimSuffix(line, "\n")]++
		}
	}
	return records
}

// Worker is the process id of the worker that serves the mount now, by its
// command line.
func (m *Mount) Worker() int {
	m.tb.Helper()
	var worker int
	Eventually(m.tb, "there is a worker", func() bool {
		worker = m.findWorker()
		return worker != 0
	})
	return worker
}

func (m *Mount) findWorker() int {
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		m.tb.Fatal(err)
	}
	for _, p := range procs {
		line, err := os.ReadFile(p)
		args := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
		if err != nil || len(args) < 2 || args[1] != "worker" || args[len(args)-1] != m.Point {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p)))
		if err != nil {
			m.tb.Fatal(err)
		}
		return pid
	}
	return 0
}

// KillWorker is kill -9 of the worker, and waits until it is gone.
func (m *Mount) KillWorker() {
	m.tb.Helper()
	pid := m.Worker()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		m.tb.Fatal(err)
	}
	Eventually(m.tb, "the worker is gone", func() bool { return m.findWorker() != pid })
}

// KillAll is kill -9 of supervisor and worker, and waits until nobody has the
// state directory.
func (m *Mount) KillAll() {
	m.tb.Helper()
	worker := m.Worker()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", worker))
	if err != nil {
		m.tb.Fatal(err)
	}
	var supervisor int
	_, parent, _ := strings.Cut(string(status), "PPid:")
	if _, err := fmt.Sscan(parent, &supervisor); err != nil {
		m.tb.Fatal(err)
	}
	// The worker may be gone with its supervisor.
	if err := errors.Join(syscall.Kill(supervisor, syscall.SIGKILL), gone(syscall.Kill(worker, syscall.SIGKILL))); err != nil {
		m.tb.Fatal(err)
	}
	Eventually(m.tb, "the state directory is free", func() bool {
		f, err := os.Open(filepath.Join(m.State, "lock"))
		if err != nil {
			m.tb.Fatal(err)
		}
		defer f.Close()
		return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
	})
}

func gone(err error) error {
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// Eventually waits for a condition.
func Eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			tb.Fatalf("never: %s", what)
		case <-ticker.C:
		}
	}
}

package mount_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/fusefs/mount"
)

const planEnv = "MOUNT_TEST_PLAN"

// TestMain is also the supervisor and the worker that the tests start.
func TestMain(m *testing.M) {
	text, ok := os.LookupEnv(planEnv)
	if !ok {
		os.Exit(m.Run())
	}
	var p plan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		panic(err)
	}
	if w, err := mount.Inherit(); err == nil {
		if err := serveRaw(p, w); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(2)
		}
		os.Exit(0)
	}
	os.Exit(superviseRaw(p))
}

// superviseRaw is the mount command of the tests.
func superviseRaw(p plan) int {
	lock, err := mount.ResumedLock()
	if lock == nil && err == nil {
		lock, err = mount.LockState(context.Background(), p.State, lockPatience, mount.Holder{PID: os.Getpid(), Mountpoint: p.Mountpoint})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 6
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP, syscall.SIGUSR2)
	o := mount.Options{
		Worker: os.Args, Mountpoint: p.Mountpoint, Source: "test://target", Flags: mount.DefaultFlags(), Protect: p.Protect,
		Lock: lock, Signals: signals, YoungAge: p.YoungAge, YoungMax: p.YoungMax,
		Log:      slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Mounted:  func() { p.note("mounted", "") },
		Stopping: func() { p.note("stopping", "") },
		Reopen:   func() { p.note("reopened", "") },
	}
	o.Flags.NonEmpty = p.NonEmpty
	if p.Supervisor {
		o.Again = append(os.Args[:1:1], "again", strconv.Itoa(len(os.Args)))
	}
	if p.BadProbe {
		o.Probe = func([]string) []string { return []string{"/bin/false"} }
	}
	if p.Picky {
		o.Probe = func(again []string) []string {
			return []string{"/bin/sh", "-c", `! test "$1" = wrong`, "sh", again[len(again)-1]}
		}
	}
	if p.InProcess {
		o.InProcess = func(w *mount.Worker) {
			if err := serveRaw(p, w); err != nil {
				fmt.Fprintln(os.Stderr, "worker:", err)
			}
		}
	}
	code, err := mount.Supervise(context.Background(), o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mount:", err)
	}
	return code
}

// keeper is a supervisor that a test started.
type keeper struct {
	plan
	t      *testing.T
	cmd    *exec.Cmd
	stderr *safeBuffer
	ended  chan struct{}
	quiet  chan struct{} // stderr is closed by all who had it
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newPlan makes the directories of a test and cleans up its mount.
func newPlan(t *testing.T) plan {
	t.Helper()
	root := t.TempDir()
	p := plan{Dir: filepath.Join(root, "dir"), State: filepath.Join(root, "state"), Mountpoint: filepath.Join(root, "mnt"), YoungAge: time.Nanosecond, YoungMax: 100}
	for _, dir := range []string{p.Dir, p.State} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for unix.Unmount(p.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) == nil {
		}
		if f, err := os.Open(p.Mountpoint); err == nil { // RemoveAll would stumble
			_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0)
			_ = f.Chmod(0o755)
			_ = f.Close()
		}
	})
	return p
}

// start starts a supervisor; it does not wait.
func (p plan) start(t *testing.T, wrap ...string) *keeper {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	program := p.Program
	if program == "" {
		if program, err = os.Executable(); err != nil {
			t.Fatal(err)
		}
	}
	args := append(wrap, program, "-test.run=NONE")
	k := &keeper{plan: p, t: t, cmd: exec.Command(args[0], args[1:]...), stderr: &safeBuffer{}, ended: make(chan struct{}), quiet: make(chan struct{})}
	k.cmd.Env = append(os.Environ(), planEnv+"="+string(text))
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	k.cmd.Stdout, k.cmd.Stderr = write, write
	if err := k.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	go func() {
		_, _ = io.Copy(k.stderr, read)
		_ = read.Close()
		close(k.quiet)
	}()
	go func() {
		_ = k.cmd.Wait()
		close(k.ended)
	}()
	t.Cleanup(func() {
		_ = k.cmd.Process.Kill()
		<-k.ended
		if t.Failed() {
			t.Logf("supervisor said:\n%s", k.stderr)
		}
	})
	return k
}

// mounted starts a supervisor and waits until the mount answers.
func (p plan) mounted(t *testing.T) *keeper {
	t.Helper()
	k := p.start(t)
	k.await("the mount answers", func() bool { return p.has("mounted") })
	return k
}

// await waits for a condition while the supervisor lives.
func (k *keeper) await(what string, ok func() bool) {
	k.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		select {
		case <-k.ended:
			<-k.quiet // all that it said is read
			if ok() {
				return
			}
			k.t.Fatalf("the supervisor ended (%v) before: %s\n%s", k.cmd.ProcessState, what, k.stderr)
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			k.t.Fatalf("never: %s\n%s", what, k.stderr)
		}
	}
}

// code waits for the end.
func (k *keeper) code() int {
	k.t.Helper()
	select {
	case <-k.ended:
	case <-time.After(30 * time.Second):
		k.t.Fatalf("the supervisor does not end\n%s", k.stderr)
	}
	return k.cmd.ProcessState.ExitCode()
}

func (k *keeper) wantCode(want int) {
	k.t.Helper()
	if got := k.code(); got != want {
		k.t.Fatalf("exit code %d (%v), want %d\n%s", got, k.cmd.ProcessState, want, k.stderr)
	}
}

func (k *keeper) signal(sig os.Signal) {
	k.t.Helper()
	if err := k.cmd.Process.Signal(sig); err != nil {
		k.t.Fatal(err)
	}
}

// worker is the pid of the running worker, 0 for none.
func (k *keeper) worker() int {
	q, err := mount.Query(k.t.Context(), k.State)
	if err != nil {
		return 0
	}
	return q.Worker
}

// killWorker kills the worker and returns when another one is started.
func (k *keeper) killWorker() {
	k.t.Helper()
	old := k.worker()
	if old == 0 {
		k.t.Fatal("no worker runs")
	}
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		k.t.Fatal(err)
	}
	k.await("another worker", func() bool { w := k.worker(); return w != 0 && w != old })
}

func (k *keeper) path(name string) string { return filepath.Join(k.Mountpoint, name) }

func (k *keeper) says(text string) bool { return strings.Contains(k.stderr.String(), text) }

func isMounted(t *testing.T, path string) bool {
	t.Helper()
	table, err := mount.Table()
	if err != nil {
		t.Fatal(err)
	}
	_, ok := mount.At(table, path)
	return ok
}

func set(t *testing.T, p plan, name string) {
	t.Helper()
	if err := os.WriteFile(p.file(name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func unset(t *testing.T, p plan, name string) {
	t.Helper()
	if err := os.Remove(p.file(name)); err != nil {
		t.Fatal(err)
	}
}

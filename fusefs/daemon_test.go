package fusefs_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/fusefs"
	"github.com/sinkfs/sinkfs/lifecycle"
)

// A mount and its client must not be one process: a call that waits for the
// daemon would hold a thread that the daemon needs. Nor may the client start
// the next worker: its descriptors are closed by exec in the child, and those
// FLUSHes wait for the worker that the child is to become. So this binary runs
// as test, as supervisor and as worker.

const daemonEnv = "SINKFS_TEST_DAEMON"

// daemonConfig is what a test tells its daemon.
type daemonConfig struct {
	Dir            string // state and target are below it
	Passthrough    string
	ReadUnfinished lifecycle.ReadUnfinished
	Batch          bool
	AllowDelete    bool
	TakeOver       bool
	Supervise      bool
	Tmpfs          bool // the state directory has a file system of its own
	GID            *uint32
	ControlMode    uint32
}

func TestMain(m *testing.M) {
	if text := os.Getenv(daemonEnv); text != "" {
		var c daemonConfig
		err := json.Unmarshal([]byte(text), &c)
		switch {
		case err != nil:
		case c.Supervise:
			err = supervise(c)
		default:
			err = serve(c)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "daemon:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// supervise mounts, and runs workers as its standard input says: each line is
// a worker and what its environment has besides; the last one is killed before.
// "wait" waits until a worker has ended itself. It ends with its input.
func supervise(c daemonConfig) error {
	mnt := filepath.Join(c.Dir, "mnt")
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	mem, err := unix.MemfdCreate("memory", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	if err := unix.Ftruncate(mem, int64(fusefs.MemorySize)); err != nil {
		return err
	}
	opts := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other,max_read=1048576", fd)
	if err := unix.Mount("sinkfs", mnt, "fuse.sinkfs", unix.MS_NOSUID|unix.MS_NODEV, opts); err != nil {
		return err
	}
	dev, memory := os.NewFile(uintptr(fd), "fuse"), os.NewFile(uintptr(mem), "memory")
	defer func() {
		// FORCE fails every call that waits: a test that went wrong must end.
		_ = unix.Unmount(mnt, unix.MNT_FORCE)
		_ = unix.Unmount(mnt, unix.MNT_DETACH)
	}()
	var worker *exec.Cmd
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if lines.Text() == "wait" {
			_ = worker.Wait()
			fmt.Println("gone")
			continue
		}
		kill(worker)
		c.Supervise, c.TakeOver = false, worker != nil
		if worker, err = startWorker(c, dev, memory, lines.Text()); err != nil {
			return err
		}
		fmt.Println("serves")
	}
	kill(worker)
	return nil
}

func kill(worker *exec.Cmd) {
	if worker != nil {
		_ = worker.Process.Kill()
		_ = worker.Wait()
	}
}

// startWorker returns when the worker serves, or is gone.
func startWorker(c daemonConfig, dev, memory *os.File, env string) (*exec.Cmd, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), daemonEnv+"="+string(text), env)
	cmd.ExtraFiles = []*os.File{dev, memory, w}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	_, _ = r.Read(make([]byte, 1)) // closed when it serves
	return cmd, r.Close()
}

// mounted is a mount with its daemon.
type mounted struct {
	t      testing.TB
	c      daemonConfig
	mnt    string
	target string
	super  *exec.Cmd
	orders io.WriteCloser
	serves *bufio.Reader
}

// mount starts a daemon and mounts it until the test ends.
func mount(t testing.TB, c daemonConfig) *mounted {
	t.Helper()
	dir, err := os.MkdirTemp("", "fusefs")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	c.Dir, c.Supervise = dir, true
	m := &mounted{t: t, c: c, mnt: filepath.Join(dir, "mnt"), target: filepath.Join(dir, "target")}
	for _, d := range []string{"mnt", "target"} {
		must(t, os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	must(t, os.Mkdir(filepath.Join(dir, "state"), 0o700))
	if c.Tmpfs {
		must(t, unix.Mount("tmpfs", filepath.Join(dir, "state"), "tmpfs", 0, "size=512m,mode=700"))
	}
	text, err := json.Marshal(c)
	must(t, err)
	m.super = exec.Command("/proc/self/exe")
	m.super.Env = append(os.Environ(), daemonEnv+"="+string(text))
	m.super.Stderr = &logWriter{t: t}
	m.orders, err = m.super.StdinPipe()
	must(t, err)
	out, err := m.super.StdoutPipe()
	must(t, err)
	m.serves = bufio.NewReader(out)
	must(t, m.super.Start())
	t.Cleanup(m.cleanup)
	m.replace()
	return m
}

func (m *mounted) cleanup() {
	_ = m.orders.Close()
	if err := m.super.Wait(); err != nil {
		m.t.Errorf("supervisor: %v", err)
	}
	if m.c.Tmpfs {
		if err := unix.Unmount(filepath.Join(m.c.Dir, "state"), unix.MNT_DETACH); err != nil {
			m.t.Error(err)
		}
	}
	if err := os.RemoveAll(m.c.Dir); err != nil {
		m.t.Error(err)
	}
}

// replace kills the worker and lets another one take the connection over. env
// is one NAME=value for it.
func (m *mounted) replace(env ...string) {
	m.t.Helper()
	m.order(strings.Join(env, ""))
}

// order is one line to the supervisor and its answer.
func (m *mounted) order(line string) {
	m.t.Helper()
	if _, err := fmt.Fprintln(m.orders, line); err != nil {
		m.t.Fatal(err)
	}
	if _, err := m.serves.ReadString('\n'); err != nil {
		m.t.Fatalf("the worker does not serve: %v", err)
	}
}

func (m *mounted) path(name string) string { return filepath.Join(m.mnt, name) }

// checkpoint publishes what is whole, and says what the call said.
func (m *mounted) checkpoint(line string) error {
	f, err := os.OpenFile(m.path(".sinkfs/checkpoint"), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = f.WriteString(line)
	return err
}

// publish is a checkpoint that must succeed.
func (m *mounted) publish() {
	m.t.Helper()
	if err := m.checkpoint("now\n"); err != nil {
		last, _ := os.ReadFile(m.path(".sinkfs/checkpoint"))
		m.t.Fatalf("checkpoint: %v\n%s", err, last)
	}
}

// writers is how many handles the status counts.
func (m *mounted) writers() (n int) {
	m.t.Helper()
	b, err := os.ReadFile(m.path(".sinkfs/status"))
	must(m.t, err)
	var st struct{ Sources []struct{ Writers int } }
	must(m.t, json.Unmarshal(b, &st))
	for _, s := range st.Sources {
		n += s.Writers
	}
	return n
}

// finished are the contents of the target, by name, parts' names shortened to
// their directory.
func (m *mounted) finished() map[string]string {
	m.t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(m.target, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(m.target, p)
		out[rel] += string(b)
		return err
	})
	must(m.t, err)
	return out
}

// published is all that was published, in no order.
func (m *mounted) published() string {
	var b strings.Builder
	for _, text := range m.finished() {
		b.WriteString(text)
	}
	return b.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErrno(t testing.TB, what string, err error, want syscall.Errno) {
	t.Helper()
	var got syscall.Errno
	if err == nil || !asErrno(err, &got) || got != want {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// eventually waits for a condition that some asynchronous step makes true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

type logWriter struct{ t testing.TB }

func (w *logWriter) Write(p []byte) (int, error) {
	w.t.Logf("daemon: %s", strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

package mount_test

import (
	"context"
	"errors"
	"fmt"
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

	"github.com/sinkfs/sinkfs/fusefs/mount"
)

func TestSignals(t *testing.T) {
	t.Run("TERM drains", func(t *testing.T) {
		p := newPlan(t)
		k := p.mounted(t)
		k.signal(syscall.SIGTERM)
		k.wantCode(0)
		if !p.has("stopping") || !p.has("detached") {
			t.Error("it did not drain")
		}
		if isMounted(t, k.Mountpoint) {
			t.Error("still mounted")
		}
		if info, err := os.Stat(k.Mountpoint); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("mountpoint is %v, %v", info, err)
		}
		if err := os.Remove(k.Mountpoint); err != nil {
			t.Errorf("mountpoint stays protected: %v", err)
		}
	})
	t.Run("the worker's code is passed on", func(t *testing.T) {
		p := newPlan(t)
		p.Left = 7
		k := p.mounted(t)
		k.signal(syscall.SIGINT)
		k.wantCode(8)
		k.await("it says why", func() bool { return k.says("mount: 7 bytes left") })
	})
	t.Run("a second one asks for haste", func(t *testing.T) {
		p := newPlan(t)
		p.Left = 7
		k := p.mounted(t)
		set(t, p, "hold-drain")
		k.signal(syscall.SIGTERM)
		k.await("it drains", func() bool { return p.has("order") })
		k.signal(syscall.SIGTERM)
		k.wantCode(8)
		order, err := os.ReadFile(p.file("order"))
		if err != nil || !strings.Contains(string(order), "NoDrain:true") {
			t.Errorf("order %s, %v", order, err)
		}
	})
	t.Run("a worker that hears nothing is killed", func(t *testing.T) {
		p := newPlan(t)
		k := p.mounted(t)
		set(t, p, "deaf")
		k.signal(syscall.SIGTERM)
		k.await("it is deaf", func() bool { return p.has("deaf.reached") })
		k.signal(syscall.SIGTERM)
		k.wantCode(8)
		if isMounted(t, k.Mountpoint) {
			t.Error("still mounted")
		}
	})
	t.Run("a worker that dies while draining is replaced", func(t *testing.T) {
		p := newPlan(t)
		k := p.mounted(t)
		set(t, p, "hold-drain")
		k.signal(syscall.SIGTERM)
		k.await("it drains", func() bool { return p.has("order") })
		unset(t, p, "order")
		unset(t, p, "hold-drain")
		k.killWorker()
		k.wantCode(0)
		if !p.has("order") {
			t.Error("the second worker was not told")
		}
	})
	t.Run("HUP reopens logs", func(t *testing.T) {
		p := newPlan(t)
		k := p.mounted(t)
		k.signal(syscall.SIGHUP)
		k.await("logs are reopened", func() bool { return p.has("reopened") })
	})
}

func TestUnmountBySomebodyElse(t *testing.T) {
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprintf("worker killed %v", kill), func(t *testing.T) {
			p := newPlan(t)
			p.Left = 7
			k := p.mounted(t)
			if kill {
				set(t, p, "hold-drain")
			}
			if err := unix.Unmount(k.Mountpoint, 0); err != nil {
				t.Fatal(err)
			}
			if kill { // the last checkpoint is the next worker's
				k.await("it drains", func() bool { return p.has("order") })
				unset(t, p, "hold-drain")
				if err := syscall.Kill(k.worker(), syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			k.wantCode(8)
			if p.has("gone") != kill {
				t.Errorf("a worker without a connection: %v", p.has("gone"))
			}
		})
	}
}

func TestAbortedConnectionMountsAnew(t *testing.T) {
	p := newPlan(t)
	k := p.mounted(t)
	table, err := mount.Table()
	if err != nil {
		t.Fatal(err)
	}
	e, _ := mount.At(table, k.Mountpoint)
	_, minor, _ := strings.Cut(e.Device, ":")
	control := t.TempDir()
	if err := unix.Mount("none", control, "fusectl", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(control, unix.MNT_DETACH) //nolint:errcheck // at worst it stays
	if err := os.WriteFile(filepath.Join(control, minor, "abort"), []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	k.await("it answers again", func() bool {
		var st unix.Stat_t
		return unix.Stat(k.path("a.log"), &st) == nil
	})
	if !k.says("mounting anew") {
		t.Error("it says nothing")
	}
}

// Nobody but workers has the device: another process would keep a dead
// connection, and every call would hang.
func TestDeviceDoesNotLeak(t *testing.T) {
	p := newPlan(t)
	p.Child = true
	k := p.mounted(t)
	text, err := os.ReadFile(p.file("child"))
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(child, syscall.SIGKILL) })
	fds := filepath.Join("/proc", string(text), "fd")
	entries, err := os.ReadDir(fds)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range entries {
		to, err := os.Readlink(filepath.Join(fds, fd.Name()))
		if err == nil && (strings.HasPrefix(to, "/dev/fuse") || strings.Contains(to, "memfd") || strings.HasPrefix(to, "socket") || strings.HasSuffix(to, "/lock")) {
			t.Errorf("the worker's child has %s", to)
		}
	}
	k.signal(syscall.SIGKILL)
	k.code()
	if err := statFails(k.path("a.log")); !errors.Is(err, syscall.ENOTCONN) && !errors.Is(err, syscall.ECONNABORTED) {
		t.Errorf("stat of a dead mount with a living child: %v", err)
	}
}

// statFails is stat, which must not hang.
func statFails(path string) error {
	done := make(chan error, 1)
	go func() {
		_, err := os.Stat(path)
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(10 * time.Second):
		return errors.New("hangs")
	}
}

// The worker ends with a killed supervisor; nothing can be written beneath the
// dead mount; the next mount takes its place.
func TestSupervisorKilled(t *testing.T) {
	p := newPlan(t)
	k := p.mounted(t)
	worker := k.worker()
	k.signal(syscall.SIGKILL)
	k.code()
	for deadline := time.Now().Add(10 * time.Second); syscall.Kill(worker, 0) == nil; {
		if state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", worker)); err != nil || strings.Contains(string(state), ") Z ") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the worker lives on")
		}
	}
	if err := statFails(k.path("a.log")); !errors.Is(err, syscall.ENOTCONN) && !errors.Is(err, syscall.ECONNABORTED) {
		t.Errorf("stat of a dead mount: %v", err)
	}
	if !mount.Dead(k.Mountpoint) {
		t.Error("it does not look dead")
	}
	if err := mount.Detach(k.Mountpoint); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(k.path("lost.log"), nil, 0o600); !errors.Is(err, syscall.EPERM) {
		t.Errorf("a log beneath: %v", err)
	}
	unset(t, p, "mounted")
	again := p.mounted(t)
	again.more(1)
	again.signal(syscall.SIGKILL)
	again.code()
	unset(t, p, "mounted")
	third := p.mounted(t) // over the dead one
	third.more(1)
	third.signal(syscall.SIGTERM)
	third.wantCode(0)
	if err := os.Remove(p.Mountpoint); err != nil {
		t.Errorf("mountpoint stays protected: %v", err)
	}
}

func cmdline(t *testing.T, pid int) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(data), "\x00", " ")
}

// asking asks the supervisor again and again until the func that it returns
// is called: somebody is always there to answer.
func asking(t *testing.T, state string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if _, err := mount.Query(context.WithoutCancel(ctx), state); err != nil {
				t.Errorf("a question while the supervisor is replaced: %v", err)
				return
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

func TestReplace(t *testing.T) {
	t.Run("USR2, worker only", func(t *testing.T) {
		k := newPlan(t).mounted(t)
		underLoad(t, k, func() {
			for range 3 {
				old := k.worker()
				k.more(200)
				k.signal(syscall.SIGUSR2)
				k.await("another worker", func() bool { w := k.worker(); return w != 0 && w != old })
			}
			k.more(200)
		})
		k.signal(syscall.SIGTERM)
		k.wantCode(0)
	})
	t.Run("supervisor too", func(t *testing.T) {
		p := newPlan(t)
		p.Supervisor = true
		k := p.mounted(t)
		pid := k.cmd.Process.Pid
		stop := asking(t, k.State)
		underLoad(t, k, func() {
			for n := range 3 {
				old := k.worker()
				k.more(200)
				program, err := os.Executable()
				if err != nil {
					t.Fatal(err)
				}
				if err := mount.Replace(t.Context(), k.State, []string{program, "replaced", strconv.Itoa(n)}); err != nil {
					t.Fatal(err)
				}
				if got, want := cmdline(t, pid), fmt.Sprintf("replaced %d ", n); !strings.HasSuffix(got, want) {
					t.Fatalf("the supervisor is %q, want …%q", got, want)
				}
				if w := k.worker(); w == old || w == 0 {
					t.Fatalf("worker %d after %d", w, old)
				}
				k.killWorker()
			}
			k.more(200)
		})
		stop()
		state, err := mount.FindState(k.Mountpoint)
		if err != nil || state != k.State {
			t.Errorf("state directory %q, %v", state, err)
		}
		k.signal(syscall.SIGTERM)
		k.wantCode(0)
		if err := os.Remove(k.Mountpoint); err != nil {
			t.Errorf("mountpoint stays protected: %v", err)
		}
	})
	t.Run("a program that does not run is not taken", func(t *testing.T) {
		p := newPlan(t)
		p.BadProbe = true
		k := p.mounted(t)
		old := k.worker()
		err := mount.Replace(t.Context(), k.State, nil)
		if err == nil || !strings.Contains(err.Error(), "/bin/false does not run: exit status 1") {
			t.Errorf("error %v", err)
		}
		if w := k.worker(); w != old {
			t.Errorf("worker %d, want %d", w, old)
		}
	})
	t.Run("a command line that does not run is not kept", func(t *testing.T) {
		p := newPlan(t)
		p.Supervisor, p.Picky = true, true
		k := p.mounted(t)
		old := k.worker()
		program, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		err = mount.Replace(t.Context(), k.State, []string{program, "wrong"})
		if err == nil || !strings.Contains(err.Error(), "does not run: exit status 1") {
			t.Errorf("error %v", err)
		}
		if w := k.worker(); w != old {
			t.Errorf("worker %d, want %d", w, old)
		}
		k.signal(syscall.SIGUSR2)
		k.await("another worker", func() bool { w := k.worker(); return w != 0 && w != old })
		if got := cmdline(t, k.cmd.Process.Pid); strings.Contains(got, "wrong") {
			t.Errorf("the supervisor is %q", got)
		}
		k.signal(syscall.SIGTERM)
		k.wantCode(0)
	})
	t.Run("a worker that does not make room is killed", func(t *testing.T) {
		p := newPlan(t)
		k := p.mounted(t)
		old := k.worker()
		set(t, p, "deaf")
		k.signal(syscall.SIGUSR2)
		k.await("it is deaf", func() bool { return p.has("deaf.reached") })
		k.await("another worker", func() bool { w := k.worker(); return w != 0 && w != old })
		unset(t, p, "deaf")
		k.more(1)
	})
}

func TestInProcess(t *testing.T) {
	p := newPlan(t)
	p.InProcess = true
	k := p.mounted(t)
	if err := os.WriteFile(k.path("b.log"), []byte("one\n"), 0); err != nil {
		t.Error(err)
	}
	if err := mount.Replace(t.Context(), k.State, nil); err == nil || !strings.Contains(err.Error(), "without a supervisor") {
		t.Errorf("replace: %v", err)
	}
	code, text, err := mount.Unmount(t.Context(), k.State, false, 0, nil)
	if code != 0 || text != "" || err != nil {
		t.Errorf("unmount: %d, %q, %v", code, text, err)
	}
	k.wantCode(0)
	if isMounted(t, k.Mountpoint) {
		t.Error("still mounted")
	}
}

func TestUnmountReturnsTheMountsCode(t *testing.T) {
	p := newPlan(t)
	p.Left = 7
	k := p.mounted(t)
	f, err := os.OpenFile(k.path("b.log"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	set(t, p, "hold-drain")
	var heard []mount.Progress
	type outcome struct {
		code int
		text string
		err  error
	}
	first := make(chan outcome, 1)
	go func() {
		var o outcome
		o.code, o.text, o.err = mount.Unmount(t.Context(), k.State, false, time.Minute, func(p mount.Progress) { heard = append(heard, p) })
		first <- o
	}()
	k.await("it drains", func() bool { return p.has("order") })
	code, text, err := mount.Unmount(t.Context(), k.State, true, 0, nil) // in haste
	want := outcome{8, "7 bytes left", nil}
	if got := (outcome{code, text, err}); got != want {
		t.Errorf("second: %+v, want %+v", got, want)
	}
	if got := <-first; got != want {
		t.Errorf("first: %+v, want %+v", got, want)
	}
	if len(heard) != 1 || heard[0] != (mount.Progress{Text: "publishing", Bytes: 7, Parts: 1}) {
		t.Errorf("progress %+v", heard)
	}
	k.wantCode(8)
	open, err := os.ReadFile(p.file("detached"))
	if name := filepath.Base(os.Args[0]); err != nil || !strings.HasPrefix(string(open), fmt.Sprintf("1 still open: %.15s[%d]: %s", name, os.Getpid(), k.path("b.log"))) {
		t.Errorf("open files: %q, %v", open, err)
	}
	if _, err := mount.Query(t.Context(), k.State); !errors.Is(err, mount.ErrNoSupervisor) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestNotRoot(t *testing.T) {
	if _, err := exec.LookPath("fusermount3"); err != nil {
		t.Fatal("install the package fuse3")
	}
	p := newPlan(t)
	const nobody = 65534
	for _, dir := range []string{filepath.Dir(p.Dir), filepath.Dir(filepath.Dir(p.Dir)), p.Dir, p.State} {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{p.Dir, p.State} {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	program := p.file("program") // the test's own lies where nobody else may look
	if out, err := exec.Command("cp", os.Args[0], program).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p.Program = program
	if err := os.Mkdir(p.Mountpoint, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(p.Mountpoint, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	p.Protect = true
	// Elsewhere everybody may open /dev/fuse; this machine's may be root's,
	// so there is another one in a name space of our own.
	device := filepath.Join(filepath.Dir(p.Dir), "fuse")
	if err := errors.Join(unix.Mknod(device, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 229))), os.Chmod(device, 0o666)); err != nil {
		t.Fatal(err)
	}
	k := p.start(t, "unshare", "--mount", "--propagation=private", "sh", "-c",
		"mount --bind "+device+" /dev/fuse && exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"", "sh")
	k.await("the mount answers", func() bool { return p.has("mounted") })
	as := func(script string) {
		t.Helper()
		out, err := exec.Command("nsenter", "--mount", "--target", strconv.Itoa(k.cmd.Process.Pid),
			"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", script).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", script, err, out)
		}
	}
	as("echo hello > " + k.path("b.log"))
	k.killWorker()
	as("echo again > " + k.path("b.log"))
	if data, err := os.ReadFile(p.file("spool.3")); err != nil || string(data) != "hello\nagain\n" {
		t.Errorf("spool holds %q, %v", data, err)
	}
	k.signal(syscall.SIGTERM)
	k.wantCode(0)
	if info, err := os.Stat(k.Mountpoint); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mountpoint is %v, %v", info, err)
	}
}

package fusefs_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestControlDirectoryIsEverywhereAndNowhere(t *testing.T) {
	m := mount(t, daemonConfig{})
	must(t, os.MkdirAll(m.path("a/b"), 0o755))
	m.finish("sub/x", "1") // files/sub is in the store too
	want := []string{"checkpoint", "checkpoints", "config", "events", "metrics", "parts", "status"}
	for _, dir := range []string{"", "a", "a/b", "files/sub"} {
		if got := entries(t, m.path(dir+"/.sinkfs")); !slices.Equal(got, want) {
			t.Errorf("%s: %v", dir, got)
		}
		if slices.Contains(entries(t, m.path(dir)), ".sinkfs") {
			t.Errorf("%s: .sinkfs is listed", dir)
		}
		if _, err := os.ReadFile(m.path(dir + "/.sinkfs/status")); err != nil {
			t.Error(err)
		}
	}
	_, err := os.Stat(m.path(".sinkfs/.sinkfs"))
	wantErrno(t, ".sinkfs/.sinkfs", err, syscall.ENOENT)
	_, err = os.Stat(m.path(".sinkfs/savepoint"))
	wantErrno(t, "savepoint", err, syscall.ENOENT)
}

func TestControlModes(t *testing.T) {
	gid := uint32(34)
	m := mount(t, daemonConfig{GID: &gid, ControlMode: 0o620})
	for name, want := range map[string]os.FileMode{"checkpoint": 0o620, "status": 0o444, "parts": 0o444, "events": 0o444, "config": 0o400, "metrics": 0o444} {
		st, err := os.Stat(m.path(".sinkfs/" + name))
		must(t, err)
		if st.Mode() != want {
			t.Errorf("%s: %v, want %v", name, st.Mode(), want)
		}
	}
	if out, err := as(34, "echo >"+m.path(".sinkfs/checkpoint")); err != nil {
		t.Errorf("the control group triggers: %v %s", err, out)
	}
	if out, err := as(35, "echo >"+m.path(".sinkfs/checkpoint")); err == nil || !strings.Contains(out, "denied") {
		t.Errorf("others trigger: %v %s", err, out)
	}
	if out, err := as(35, "cat "+m.path(".sinkfs/config")); err == nil {
		t.Errorf("others read the configuration: %s", out)
	}
	_, err := os.OpenFile(m.path(".sinkfs/status"), os.O_WRONLY, 0)
	wantErrno(t, "write to status", err, syscall.EACCES)
	wantErrno(t, "chmod", os.Chmod(m.path(".sinkfs/checkpoint"), 0o666), syscall.EPERM)
}

func TestStatusAndConfigAndMetrics(t *testing.T) {
	m := mount(t, daemonConfig{})
	must(t, os.WriteFile(m.path("a.log"), []byte("x\n"), 0o644))
	b, err := os.ReadFile(m.path(".sinkfs/status"))
	must(t, err)
	var st map[string]any
	must(t, json.Unmarshal(b, &st))
	if st["write_path"] != "passthrough" || st["version"] != "v0" || st["mode"] != "streaming" {
		t.Errorf("%s", b)
	}
	if _, ok := st["write_path_reason"]; !ok {
		t.Error("no write_path_reason")
	}
	if b, err := os.ReadFile(m.path(".sinkfs/config")); string(b) != "target: test\n" {
		t.Errorf("config %q, %v", b, err)
	}
	if b, err := os.ReadFile(m.path(".sinkfs/metrics")); string(b) != "sinkfs_up 1\n" {
		t.Errorf("metrics %q, %v", b, err)
	}
}

func TestCheckpointIsAnAnswer(t *testing.T) {
	m := mount(t, daemonConfig{})
	if b, err := os.ReadFile(m.path(".sinkfs/checkpoint")); string(b) != "null\n" {
		t.Errorf("before the first: %q, %v", b, err)
	}
	must(t, os.WriteFile(m.path("a.log"), []byte("x\n"), 0o644))
	f := open(t, m.path(".sinkfs/checkpoint"), os.O_RDWR|os.O_TRUNC)
	if n := len(m.finished()); n != 0 {
		t.Errorf("O_TRUNC alone published %d", n)
	}
	write(t, f, "now timeout=30s\n")
	if got := m.published(); got != "x\n" {
		t.Errorf("published %q", got)
	}
	// The handle that triggered reads its own checkpoint.
	buf := make([]byte, 1<<16)
	n, _ := f.ReadAt(buf, 0)
	var own, last struct {
		ID      uint64
		State   string
		Bytes   int64
		LeftOut []any `json:"left_out"`
		Failed  []any
	}
	must(t, json.Unmarshal(buf[:n], &own))
	m.publish()
	b, err := os.ReadFile(m.path(".sinkfs/checkpoint"))
	must(t, err)
	must(t, json.Unmarshal(b, &last))
	if own.State != "complete" || own.Bytes != 2 || own.LeftOut == nil || own.Failed == nil {
		t.Errorf("%s", buf[:n])
	}
	if last.ID <= own.ID {
		t.Errorf("last %d, own %d", last.ID, own.ID)
	}
	for _, line := range []string{"nonsense\n", "now\nnow\n", "timeout=0s\n", "now timeout=x\n", "policy end\n"} {
		wantErrno(t, line, m.checkpoint(line), syscall.EINVAL)
	}
	for _, line := range []string{"\n", "now", "policy\n", "end\n", " now  timeout=1m ", "timeout=1m\n"} {
		if err := m.checkpoint(line); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
	ids := entries(t, m.path(".sinkfs/checkpoints"))
	if !slices.Contains(ids, fmt.Sprint(own.ID)) {
		t.Errorf("%d is not in %v", own.ID, ids)
	}
	b, err = os.ReadFile(m.path(fmt.Sprintf(".sinkfs/checkpoints/%d", own.ID)))
	must(t, err)
	if !strings.Contains(string(b), "a.log") {
		t.Errorf("manifest %s", b)
	}
	_, err = os.Stat(m.path(".sinkfs/checkpoints/99999"))
	wantErrno(t, "unknown checkpoint", err, syscall.ENOENT)
	b, err = os.ReadFile(m.path(".sinkfs/parts"))
	must(t, err)
	if !strings.Contains(string(b), `"finished"`) {
		t.Errorf("parts %s", b)
	}
}

func TestBatchKnowsOnlyTheEnd(t *testing.T) {
	m := mount(t, daemonConfig{Batch: true})
	must(t, os.WriteFile(m.path("a.log"), []byte("x\n"), 0o644))
	wantErrno(t, "now", m.checkpoint("now\n"), syscall.EINVAL)
	wantErrno(t, "policy", m.checkpoint("policy\n"), syscall.EINVAL)
	b, err := os.ReadFile(m.path(".sinkfs/checkpoint"))
	must(t, err)
	if !strings.Contains(string(b), "batch") {
		t.Errorf("the reason is not readable: %s", b)
	}
	must(t, m.checkpoint("end\n"))
	if got := m.published(); got != "x\n" {
		t.Errorf("published %q", got)
	}
}

func TestCheckpointThatCannotBeIsEIO(t *testing.T) {
	m := mount(t, daemonConfig{})
	must(t, os.WriteFile(m.path("files/taken"), []byte("mine"), 0o644))
	must(t, os.MkdirAll(filepath.Join(m.target, "files"), 0o755))
	must(t, os.WriteFile(filepath.Join(m.target, "files", "taken"), []byte("theirs"), 0o644))
	wantErrno(t, "a part whose key is taken", m.checkpoint("now\n"), syscall.EIO)
	b, err := os.ReadFile(m.path(".sinkfs/checkpoint"))
	must(t, err)
	var c struct {
		State, Error string
		Failed       []struct{ Path, Error string }
	}
	must(t, json.Unmarshal(b, &c))
	if c.State != "partial" || len(c.Failed) != 1 || c.Failed[0].Path != "files/taken" || c.Failed[0].Error == "" || c.Error == "" {
		t.Errorf("%s", b)
	}
	must(t, os.Remove(m.path("files/taken")))
	// A target that is gone: what was written does not get there in time.
	must(t, os.Rename(m.target, m.target+".away"))
	must(t, os.WriteFile(m.path("b.log"), []byte("y\n"), 0o644))
	must(t, os.WriteFile(m.target, nil, 0o644))
	wantErrno(t, "a target that is gone", m.checkpoint("now timeout=500ms\n"), syscall.ETIMEDOUT)
	must(t, os.Remove(m.target))
	must(t, os.Rename(m.target+".away", m.target))
	eventually(t, "the checkpoint gets there", func() bool { return m.checkpoint("now\n") == nil })
}

func TestEventsBlockUntilSomethingHappens(t *testing.T) {
	m := mount(t, daemonConfig{})
	// A reader in this process could not be ended: Go waits for the read.
	cat := exec.Command("cat", m.path(".sinkfs/events"))
	out, err := cat.StdoutPipe()
	must(t, err)
	must(t, cat.Start())
	defer func() {
		must(t, cat.Process.Kill()) // ends a read that waits
		_ = cat.Wait()
	}()
	lines := make(chan string, 100)
	go func() {
		s := bufio.NewScanner(out)
		for s.Scan() {
			lines <- s.Text()
		}
		close(lines)
	}()
	eventually(t, "the reader listens", func() bool { return m.reads(".sinkfs/events", cat.Process.Pid) })
	must(t, os.WriteFile(m.path("a.log"), []byte("x\n"), 0o644)) // reads block nobody
	m.publish()
	var types []string
	for !slices.Contains(types, "checkpoint") {
		select {
		case l := <-lines:
			var ev struct{ Type string }
			must(t, json.Unmarshal([]byte(l), &ev))
			types = append(types, ev.Type)
		case <-time.After(10 * time.Second):
			t.Fatalf("no checkpoint event, only %v", types)
		}
	}
	if !slices.Contains(types, "part") {
		t.Errorf("events %v", types)
	}
}

// TestInterruptedTrigger: a signal ends the wait with EINTR, and the repeated
// write on the same handle joins.
func TestInterruptedTrigger(t *testing.T) {
	m := mount(t, daemonConfig{})
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, syscall.SIGUSR1)
	defer signal.Stop(sig)
	fd, err := syscall.Open(m.path(".sinkfs/checkpoint"), syscall.O_WRONLY, 0)
	must(t, err)
	defer func() { _ = syscall.Close(fd) }()
	interrupted := 0
	for round := 0; interrupted == 0 && round < 200; round++ {
		must(t, os.WriteFile(m.path("a.log"), []byte("x\n"), 0o644))
		tid := make(chan int, 1)
		done := make(chan error, 1)
		go func() {
			runtime.LockOSThread() // which gets the signals, and ends with this
			tid <- unix.Gettid()
			for {
				_, err := syscall.Write(fd, []byte("now\n"))
				if err != syscall.EINTR {
					done <- err
					return
				}
				interrupted++
			}
		}()
		writer, tick := <-tid, time.NewTicker(time.Millisecond)
		for waiting := true; waiting; {
			select {
			case err := <-done: // however often it was interrupted, the end is one success
				must(t, err)
				waiting = false
			case <-tick.C:
				_ = unix.Tgkill(os.Getpid(), writer, unix.SIGUSR1) // it may just have ended
			}
		}
		tick.Stop()
		if got, want := m.published(), strings.Repeat("x\n", round+1); got != want {
			t.Fatalf("published %q, want %q", got, want)
		}
		if got := entries(t, m.path(".sinkfs/checkpoints")); len(got) != round+1 {
			t.Fatalf("checkpoints %v after %d triggers, interrupted %d times", got, round+1, interrupted)
		}
	}
	if interrupted == 0 {
		t.Error("no trigger was interrupted")
	}
	t.Logf("%d times", interrupted)
}

// reads says that a process has the file open, in the answer of the mount.
func (m *mounted) reads(name string, pid int) bool {
	fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	for _, fd := range fds {
		if to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name())); to == m.path(name) {
			return true
		}
	}
	return false
}

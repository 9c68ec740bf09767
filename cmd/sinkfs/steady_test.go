package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sinkfs/sinkfs/fusefs/mount"
	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// TestWorkersKeepTheStateDirectory: whatever the configuration says by then, a
// new worker goes on with the state directory that the mount has locked.
func TestWorkersKeepTheStateDirectory(t *testing.T) {
	dir := t.TempDir()
	file, point, target := filepath.Join(dir, "c.yaml"), filepath.Join(dir, "mnt"), filepath.Join(dir, "target")
	state := filepath.Join(dir, "s1")
	configure(t, file, state)
	want(t, sinkfstest.Run(t, "mount", "-b", "-c", file, "--checkpoint-interval", "0", target, point), 0, ".*\n", "")
	t.Cleanup(func() { sinkfstest.Run(t, "umount", point) })
	appendTo(t, filepath.Join(point, "app.log"), "one\n")
	configure(t, file, filepath.Join(dir, "s2"))
	before, err := mount.Query(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(before.Worker, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	appendTo(t, filepath.Join(point, "app.log"), "two\n")
	want(t, sinkfstest.Run(t, "checkpoint", point), 0, ".*\n", "")
	if got := publishedText(t, target); got != "one\ntwo\n" {
		t.Errorf("published %q", got)
	}
	if _, err := os.Lstat(filepath.Join(dir, "s2")); err == nil {
		t.Error("the worker made another state directory")
	}
}

func configure(t *testing.T, file, state string) {
	t.Helper()
	if err := os.WriteFile(file, []byte("state_dir: "+state+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestReplacedMountKeepsItsLog: a mount in the background that is replaced
// from another directory stays what it was.
func TestReplacedMountKeepsItsLog(t *testing.T) {
	dir := t.TempDir()
	state, point, target := filepath.Join(dir, "state"), filepath.Join(dir, "mnt"), filepath.Join(dir, "target")
	want(t, sinkfstest.Run(t, "mount", "-b", "--state-dir", state, target, point), 0, ".*\n", "")
	t.Cleanup(func() { sinkfstest.Run(t, "umount", point) })
	cmd := exec.Command(sinkfstest.Program(t), "mount", "--replace", "--state-dir", state, target, point)
	cmd.Dir = dir
	want(t, sinkfstest.Command(t, cmd), 0, ".*\n", "")
	k, err := mount.Query(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	if line := strings.Join(k.Again, " "); !strings.Contains(line, "--daemon=true") || !strings.Contains(line, "--log-file="+filepath.Join(state, "log")) {
		t.Errorf("it goes on as %q", line)
	}
	if err := os.Rename(filepath.Join(state, "log"), filepath.Join(state, "log.1")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(k.PID, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a new log", func() bool { _, err := os.Lstat(filepath.Join(state, "log")); return err == nil })
}

// TestWaitForAnEmptyFile: an empty file of a file sink is a part.
func TestWaitForAnEmptyFile(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("_SUCCESS.gz"), "")
	want(t, sinkfstest.Run(t, "wait", "--timeout", "300ms", m.Path("_SUCCESS.gz")), 1, "", "sinkfs: .*\n")
	m.Publish()
	want(t, sinkfstest.Run(t, "wait", "--timeout", "10s", m.Path("_SUCCESS.gz")), 0, "", "")
}

// TestImpliedDirectoriesHaveTheOwner: a directory that the first write into
// what the target has makes in the spool is like all others of the mount.
func TestImpliedDirectoriesHaveTheOwner(t *testing.T) {
	m := sinkfstest.New(t, "-o", "uid=65534,gid=65534,dir_mode=0775")
	if err := os.Mkdir(filepath.Join(m.Target, "pub"), 0o755); err != nil {
		t.Fatal(err)
	}
	appendTo(t, m.Path("pub/a.log"), "one\n")
	if got := m.Shell("sleep 1.1; stat -c '%a %u %g' pub"); got != "775 65534 65534\n" {
		t.Errorf("mode and owner %q", got)
	}
}

// TestFsckReadsTheEnvironment: as the mount does.
func TestFsckReadsTheEnvironment(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("app.log"), "one\n")
	want(t, sinkfstest.Run(t, "umount", m.Point), 0, "", "")
	for key := range m.Finished() {
		if err := os.Remove(filepath.Join(m.Target, key)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(sinkfstest.Program(t), "fsck", m.Target)
	cmd.Env = append(os.Environ(), "SINKFS_STATE_DIR="+m.State)
	if r := sinkfstest.Command(t, cmd); r.Code != 9 {
		t.Errorf("exit code %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
}

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/fusefs/mount"
	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// TestReplaceThatCannotBe: a configuration that became invalid, or another
// target, must not end a mount that runs.
func TestReplaceThatCannotBe(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "sinkfs.yaml")
	write := func(text string) {
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log := filepath.Join(t.TempDir(), "log")
	write("mode: streaming\n")
	f := mountHere(t, nil, "--config", conf, "--log-file", log)
	logged := func(text string) func() bool {
		return func() bool {
			data, err := os.ReadFile(log)
			return err == nil && strings.Contains(string(data), text)
		}
	}
	other := filepath.Join(filepath.Dir(f.target), "other")
	want(t, sinkfstest.Run(t, "mount", "--replace", "--state-dir", f.state, other, f.point), 6, "",
		"sinkfs: the mount at .* has the target file://.*/target, which cannot change to file://.*/other while it runs: unmount it first\n")
	write("mode: strem\n")
	if err := f.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the reason", logged(`mode: \"strem\" is not one of its values`))
	if err := os.WriteFile(filepath.Join(f.point, "a.log"), []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	write("mode: streaming\n")
	want(t, sinkfstest.Run(t, "umount", f.point), 0, "", "")
	if got := f.code(); got != 0 {
		t.Errorf("exit code %d, want 0", got)
	}
	if got := publishedText(t, f.target); got != "hello\n" {
		t.Errorf("published %q, want %q", got, "hello\n")
	}
}

// TestTriggerOutlivesReplace: who waits for a checkpoint gets its answer from
// the next worker, not an error because the first one made room.
func TestTriggerOutlivesReplace(t *testing.T) {
	m := sinkfstest.New(t)
	var inTheWay []string
	for _, at := range []time.Time{time.Now(), time.Now().Add(time.Hour)} {
		inTheWay = append(inTheWay, filepath.Join(m.Target, at.UTC().Format("2006-01-02--15")))
	}
	for _, path := range inTheWay {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	appendTo(t, m.Path("app.log"), "one\n")
	answer := make(chan error, 1)
	go func() { answer <- os.WriteFile(m.Path(".sinkfs/checkpoint"), []byte("now\n"), 0) }()
	waitFor(t, "a commit that cannot be", func() bool {
		text, err := os.ReadFile(m.Path(".sinkfs/parts"))
		return err == nil && strings.Contains(string(text), `"committing"`)
	})
	before := supervisorOf(t, m)
	if err := syscall.Kill(before.PID, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "another worker", func() bool {
		k, err := mount.Query(t.Context(), m.State) // nobody answers while the supervisor changes
		return err == nil && k.Worker != 0 && k.Worker != before.Worker
	})
	for _, path := range inTheWay {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-answer; err != nil {
		t.Errorf("the trigger: %v", err)
	}
	if got := m.Records(); got["one"] != 1 {
		t.Errorf("published %v", got)
	}
}

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

package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/cmd/sinkfs/config"
	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, r sinkfstest.Result, code int, stdout, stderr string) {
	t.Helper()
	match := func(what, got, pattern string) {
		if !regexp.MustCompile("(?s)^" + pattern + "$").MatchString(got) {
			t.Errorf("%s is %q, want %q", what, got, pattern)
		}
	}
	if r.Code != code {
		t.Errorf("exit code %d, want %d", r.Code, code)
	}
	match("stdout", r.Stdout, stdout)
	match("stderr", r.Stderr, stderr)
}

// TestCheckpointSaysWhatToDo about a file whose key is another object's.
func TestCheckpointSaysWhatToDo(t *testing.T) {
	m := sinkfstest.NewConfigured(t, "sinks: [{path: /, kind: file}]\n")
	appendTo(t, m.Path("a.txt"), "mine\n")
	if err := os.WriteFile(filepath.Join(m.Target, "a.txt"), []byte("another\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	want(t, sinkfstest.Run(t, "checkpoint", m.Point), 1, ".*failed +a.txt.*", "sinkfs: checkpoint 1 is partial, 1 part not published: quarantined: .*another object has this key, rename the file in the mount\n")
	if err := os.Rename(m.Path("a.txt"), m.Path("b.txt")); err != nil {
		t.Fatal(err)
	}
	want(t, sinkfstest.Run(t, "checkpoint", m.Point), 0, "checkpoint 2 complete: 1 part.*", "")
}

func TestCheckpointCommand(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("app.log"), "one\ntwo\n")
	want(t, sinkfstest.Run(t, "checkpoint", m.Point), 0, `checkpoint 1 complete: 1 part, 8 B, 2 records in .*\n`, "")
	if got := m.Records(); got["one"] != 1 || got["two"] != 1 {
		t.Errorf("published %v", got)
	}
	want(t, sinkfstest.Run(t, "checkpoint", "--policy", m.Path("app.log")), 0, `checkpoint 2 complete: 0 parts, 0 B, 0 records in .*\n`, "")

	f, err := os.OpenFile(m.Path("open.log"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("whole\ntorn"); err != nil {
		t.Fatal(err)
	}
	r := sinkfstest.Run(t, "checkpoint", "--json", m.Point)
	want(t, r, 0, `\{"id":3,.*\}\n`, "")
	var c struct {
		Bytes   int64
		LeftOut []struct{ Path string } `json:"left_out"`
	}
	if err := json.Unmarshal([]byte(r.Stdout), &c); err != nil || c.Bytes != 6 || len(c.LeftOut) != 1 || c.LeftOut[0].Path != "open.log" {
		t.Errorf("got %+v, %v", c, err)
	}
	want(t, sinkfstest.Run(t, "checkpoint", m.Point), 0, `checkpoint 4 .*left out +open.log +4 B .*`, "")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCheckpointThatFails(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("app.log"), "one\n")
	m.Publish()
	appendTo(t, m.Path("app.log"), "two\n")
	if err := os.Rename(m.Target, m.Target+".away"); err != nil {
		t.Fatal(err)
	}
	want(t, sinkfstest.Run(t, "checkpoint", "--timeout", "300ms", m.Point), 1, "", `sinkfs: the checkpoint did not end in time, it goes on: .*\n`)
	if err := os.Rename(m.Target+".away", m.Target); err != nil {
		t.Fatal(err)
	}
	sinkfstest.Eventually(t, "the target is back", func() bool { return sinkfstest.Run(t, "checkpoint", m.Point).Code == 0 })
	if got := m.Records(); got["one"] != 1 || got["two"] != 1 {
		t.Errorf("published %v", got)
	}
}

func TestBatchMode(t *testing.T) {
	m := sinkfstest.New(t, "--mode", "batch")
	appendTo(t, m.Path("app.log"), "one\n")
	want(t, sinkfstest.Run(t, "checkpoint", m.Point), 1, "", `sinkfs: the mount refused "now": in batch mode only .*\n`)
	want(t, sinkfstest.Run(t, "checkpoint", "--end", m.Point), 0, `checkpoint 1 complete: 1 part.*`, "")
}

func TestStatusAndParts(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("app.log"), "one\n")
	appendTo(t, m.Path("x.tmp"), "scratch\n")
	want(t, sinkfstest.Run(t, "status", m.Path("app.log")), 0,
		`state +running, streaming mode, sinkfs .*target +file://`+m.Target+` is ok.*write path .*SOURCE.*app\.log +4 B .*SCRATCH.*x\.tmp +8 B\n`, "")
	m.Publish()
	want(t, sinkfstest.Run(t, "status", m.Point), 0, `state .*checkpoint 1 complete: .*`, "")
	r := sinkfstest.Run(t, "status", "--json", m.Point)
	var s map[string]any
	if err := json.Unmarshal([]byte(r.Stdout), &s); err != nil || s["state"] != "running" || strings.Count(r.Stdout, "\n") != 1 {
		t.Errorf("got %v, %v", s, err)
	}
	want(t, sinkfstest.Run(t, "parts", m.Point), 0, `PART +STATE.*0 +finished +4 +1 +1 +file://`+m.Target+`/.*\n`, "")
	want(t, sinkfstest.Run(t, "parts", "--json", "--state", "finished", m.Point), 0, `\{"part":0,.*\}\n`, "")
	want(t, sinkfstest.Run(t, "parts", "--state", "quarantined", m.Point), 0, `PART +STATE[^\n]*\n`, "")
}

func TestStatusWatches(t *testing.T) {
	m := sinkfstest.New(t)
	cmd := exec.Command(sinkfstest.Program(t), "status", "--watch", "--json", m.Point)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(out)
	for range 2 {
		var s map[string]any
		if err := decoder.Decode(&s); err != nil || s["state"] != "running" {
			t.Errorf("got %v, %v", s, err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
}

func TestWaitCommand(t *testing.T) {
	m := sinkfstest.NewConfigured(t, "sinks: [{path: /files, kind: file}]\n")
	appendTo(t, m.Path("app.log"), "one\n")
	want(t, sinkfstest.Run(t, "wait", "--timeout", "300ms", m.Path("app.log")), 1, "", `sinkfs: .*/app.log is not finished after 300ms: .*\n`)

	cmd := exec.Command(sinkfstest.Program(t), "wait", m.Path("app.log"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.Publish()
	if err := cmd.Wait(); err != nil {
		t.Errorf("wait while it is published: %v", err)
	}
	want(t, sinkfstest.Run(t, "wait", m.Path("app.log")), 0, "", "")

	if err := os.MkdirAll(m.Path("files"), 0o755); err != nil {
		t.Fatal(err)
	}
	appendTo(t, m.Path("files/a.csv"), "a\n")
	appendTo(t, m.Path("b.gz"), "not really\n")
	m.Publish()
	want(t, sinkfstest.Run(t, "wait", m.Path("files/a.csv")), 0, "", "")
	want(t, sinkfstest.Run(t, "wait", m.Path("b.gz")), 0, "", "") // its part is in a bucket, its name is gone
	want(t, sinkfstest.Run(t, "wait", m.Path("never")), 1, "", `sinkfs: .*/never does not exist, name a file of the mount\n`)
	appendTo(t, m.Path("x.tmp"), "scratch\n")
	want(t, sinkfstest.Run(t, "wait", m.Path("x.tmp")), 1, "", `sinkfs: .*/x.tmp is a temporary name and never published, rename it\n`)
	want(t, sinkfstest.Run(t, "wait", m.Path("files")), 1, "", `sinkfs: .*/files is not a file that was written here, name one\n`)
}

func TestJournalCommands(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("app.log"), "one\n")
	m.Publish()
	want(t, sinkfstest.Run(t, "journal", "verify", "--state-dir", m.State), 6, "", `sinkfs: state directory is in use: `+m.State+` belongs to process \d+, mounted at `+m.Point+`; .*\n`)
	want(t, sinkfstest.Run(t, "umount", m.Point), 0, ".*", ".*")
	want(t, sinkfstest.Run(t, "journal", "verify", "--state-dir", m.State), 0, `\{"seq":.*\}\n`, "")
	dump := sinkfstest.Run(t, "journal", "dump", "--state-dir", m.State)
	want(t, dump, 0, `.*"part.*`, "")
	backup := sinkfstest.Run(t, "journal", "backup", "--state-dir", m.State)
	if backup.Code != 0 || backup.Stdout == "" {
		t.Fatal(backup.Stderr)
	}
	cmd := exec.Command(sinkfstest.Program(t), "journal", "restore", "--state-dir", m.State)
	cmd.Stdin = strings.NewReader(backup.Stdout)
	want(t, sinkfstest.Command(t, cmd), 0, "", "")
	if again := sinkfstest.Run(t, "journal", "dump", "--state-dir", m.State); again.Stdout != dump.Stdout {
		t.Errorf("restored %s\nwant %s", again.Stdout, dump.Stdout)
	}
	m.Start()
	appendTo(t, m.Path("app.log"), "two\n")
	m.Publish()
	if got := m.Records(); got["one"] != 1 || got["two"] != 1 {
		t.Errorf("published %v", got)
	}
}

func TestDeadMountIsExitCode5(t *testing.T) {
	m := sinkfstest.New(t)
	want(t, sinkfstest.Run(t, "umount", m.Point), 0, ".*", ".*")
	for _, command := range []string{"status", "checkpoint", "parts"} {
		want(t, sinkfstest.Run(t, command, m.Point), 5, "", `sinkfs: `+m.Point+` is in no sinkfs mount, .*\n`)
	}
}

func TestStoresRefusedAtMount(t *testing.T) {
	dir := t.TempDir()
	r := sinkfstest.Run(t, "mount", "--state-dir", filepath.Join(dir, "state"), "hdfs://nn/x", filepath.Join(dir, "mnt"))
	want(t, r, 4, "", `sinkfs: target hdfs://nn/x: stores at hdfs:// are not in this build of sinkfs, use .*\n`)
}

func TestMetricsOfAMount(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("app.log"), "one\n")
	m.Publish()
	sinkfstest.Eventually(t, "the part is counted", func() bool {
		text, err := os.ReadFile(m.Path(".sinkfs/metrics"))
		return err == nil && strings.Contains(string(text), `sinkfs_finished_parts_total{sink="/"} 1`) &&
			strings.Contains(string(text), `sinkfs_checkpoints_total{state="complete"} 1`)
	})
}

func TestConfigOfAMount(t *testing.T) {
	m := sinkfstest.NewConfigured(t, "source_ttl: 2h\n")
	text, err := os.ReadFile(m.Path(".sinkfs/config"))
	if err != nil || !strings.Contains(string(text), "source_ttl: 2h\n") || !strings.Contains(string(text), "target: file://"+m.Target) {
		t.Errorf("got %v\n%s", err, text)
	}
}

func TestWaitEndsWithTheMount(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("app.log"), "one\n")
	cmd := exec.Command(sinkfstest.Program(t), "wait", m.Path("app.log"))
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	want(t, sinkfstest.Run(t, "umount", "--no-drain", m.Point), 8, ".*", ".*")
	if err := cmd.Wait(); err == nil {
		t.Errorf("wait succeeded after %v although nothing was published", time.Since(start))
	}
}

func TestNamesTooLongForAnObject(t *testing.T) {
	m := sinkfstest.New(t)
	dir := m.Path(strings.Repeat("d", 240), strings.Repeat("e", 240), strings.Repeat("f", 240))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	err := os.WriteFile(filepath.Join(dir, strings.Repeat("x", 250)), []byte("one\n"), 0o644)
	if !errors.Is(err, syscall.ENAMETOOLONG) {
		t.Errorf("a name of 973 bytes, with the bucket of its part to come: %v", err)
	}
	appendTo(t, filepath.Join(dir, strings.Repeat("x", 100)), "one\n")
	m.Publish()
	if got := m.Records(); got["one"] != 1 {
		t.Errorf("published %v", got)
	}
}

// TestWaitForAnEmptyFile: an empty file of a file sink is a part.
func TestWaitForAnEmptyFile(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("_SUCCESS.gz"), "")
	want(t, sinkfstest.Run(t, "wait", "--timeout", "300ms", m.Path("_SUCCESS.gz")), 1, "", "sinkfs: .*\n")
	m.Publish()
	want(t, sinkfstest.Run(t, "wait", "--timeout", "10s", m.Path("_SUCCESS.gz")), 0, "", "")
}

// TestWaitFollowsARename: what is waited for is the file that had the name.
func TestWaitFollowsARename(t *testing.T) {
	m := sinkfstest.New(t)
	path := m.Path("app.log")
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	if _, err := w.WriteString("without an end"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(sinkfstest.Program(t), "wait", "--timeout", "3s", path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the wait", func() bool {
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", cmd.Process.Pid))
		return slices.ContainsFunc(fds, func(fd string) bool { to, _ := os.Readlink(fd); return to == path })
	})
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, "another\n")
	m.Publish()
	if err := cmd.Wait(); err == nil {
		t.Error("it says that what has no end is finished")
	}
}

// TestURLsAreEncoded wherever one is told: each is a target that means the same.
func TestURLsAreEncoded(t *testing.T) {
	m := sinkfstest.At(t, "")
	m.Target = filepath.Join(m.Dir, "a b", "t,x=1%20")
	if err := os.Mkdir(filepath.Dir(m.Target), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(m.Dir, "sinkfs.yaml")
	if err := os.WriteFile(file, []byte("sinks: [{path: /, kind: file}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.Start("-c", file)
	appendTo(t, m.Path("50% ä?.txt"), "one\n")
	attribute := func() string {
		value := make([]byte, 4096)
		n, err := unix.Getxattr(m.Path("50% ä?.txt"), "user.sinkfs.url", value)
		if err != nil {
			t.Fatal(err)
		}
		return string(value[:n])
	}
	m.Publish()
	target := "file://" + m.Dir + "/a%20b/t,x=1%2520"
	part := target + "/50%25%20%C3%A4%3F.txt"
	if got := attribute(); got != part {
		t.Errorf("attribute %s, want %s", got, part)
	}
	var status struct{ Target struct{ URL string } }
	var parts struct{ URL string }
	for v, command := range map[any]string{&status: "status", &parts: "parts"} {
		if err := json.Unmarshal([]byte(sinkfstest.Run(t, command, "--json", m.Point).Stdout), v); err != nil {
			t.Fatal(err)
		}
	}
	if status.Target.URL != target || parts.URL != part {
		t.Errorf("status has %s, want %s; parts have %s, want %s", status.Target.URL, target, parts.URL, part)
	}
	if e, err := config.ParseTarget(parts.URL); err != nil || e.Path != filepath.Join(m.Target, "50% ä?.txt") {
		t.Errorf("%s is read as %+v, %v", parts.URL, e, err)
	}
}

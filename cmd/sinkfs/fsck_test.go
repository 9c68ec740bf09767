package main_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// finished is the path of the only finished file of a mount.
func finished(t *testing.T, m *sinkfstest.Mount) string {
	t.Helper()
	all := slices.Collect(maps.Keys(m.Finished()))
	if len(all) != 1 {
		t.Fatalf("%q are finished, want one", all)
	}
	return filepath.Join(m.Target, all[0])
}

func TestFsckOfAMount(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("app.log"), "one\n")
	m.Publish()
	appendTo(t, m.Path("app.log"), "two\n")
	appendTo(t, m.Path("x.tmp"), "scratch\n")
	if err := os.WriteFile(filepath.Join(m.Target, "foreign"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	want(t, sinkfstest.Run(t, "fsck", "--bodies", m.Path("app.log")), 0,
		` +WHERE.*target +finished +1 +4\n +target +foreign +1 +1\n.*spool +finished +1 +4\n.*spool +scratch +1 +8\n.*spool +unsealed +1 +4\n`, "")
	r := sinkfstest.Run(t, "fsck", "--json", m.Point)
	var report struct {
		Problems int
		Rows     []struct{ Kind, Path string }
	}
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil || report.Problems != 0 || len(report.Rows) != 5 {
		t.Errorf("got %+v, %v", report, err)
	}
	want(t, sinkfstest.Run(t, "fsck", "--state-dir", m.State, m.Point), 3, "", `sinkfs: .* is a mount, .*\n`)
	want(t, sinkfstest.Run(t, "fsck", "--state-dir", m.State, m.Target), 6, "", `sinkfs: state directory is in use: .* belongs to process \d+, mounted at `+m.Point+`; .*\n`)
	if err := os.Remove(filepath.Join(m.Target, "foreign")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(finished(t, m)); err != nil {
		t.Fatal(err)
	}
	want(t, sinkfstest.Run(t, "fsck", m.Point), 9, `.*! +target +missing +\S+ +4 +part 0 of checkpoint 1 was published here: .*\n`, "sinkfs: 1 problem found: .*\n")
}

func TestFsckFinds(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("app.log"), "one\n")
	m.Publish()
	want(t, sinkfstest.Run(t, "umount", m.Point), 0, ".*", ".*")
	fsck := func(code int, stdout, stderr string) {
		t.Helper()
		want(t, sinkfstest.Run(t, "fsck", "--bodies", "--state-dir", m.State, m.Target), code, stdout, stderr)
	}
	fsck(0, `.*target +finished +1 +4\n.*`, "")
	part := finished(t, m)
	if err := os.Rename(part, part+".away"); err != nil {
		t.Fatal(err)
	}
	fsck(9, `.*! target +orphan .*`, `sinkfs: 2 problems found: .*\n`) // not there, and there under another name
	if err := os.Rename(part+".away", part); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(part, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(part, []byte("two\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	fsck(9, `.*! target +mismatch .*`, `sinkfs: 1 problem found: .*\n`)
}

// TestFsckKnowsDeletedFiles: what was deleted through the mount is not missed,
// how often the name is used again; what was deleted behind its back is.
func TestFsckKnowsDeletedFiles(t *testing.T) {
	m := sinkfstest.NewConfigured(t, "sinks: [{path: /, kind: file, allow_delete: true}]\n")
	publish := func() {
		t.Helper()
		waitFor(t, "the mount to see that the name is free", func() bool { return os.WriteFile(m.Path("a.txt"), []byte("x\n"), 0o644) == nil })
		m.Publish()
	}
	for range 2 {
		publish()
		if err := os.Remove(m.Path("a.txt")); err != nil {
			t.Fatal(err)
		}
		want(t, sinkfstest.Run(t, "fsck", m.Point), 0, " +WHERE.*BYTES\n", "")
	}
	publish()
	want(t, sinkfstest.Run(t, "fsck", m.Point), 0, ".*target +finished +1 +2\n", "")
	if err := os.Remove(filepath.Join(m.Target, "a.txt")); err != nil {
		t.Fatal(err)
	}
	publish()
	want(t, sinkfstest.Run(t, "fsck", m.Point), 9, ".*target +finished +1 +2\n.*! +target +missing +a.txt .* has the name now\n", "sinkfs: 1 problem found: .*\n")
}

// TestFsckWithoutAJournal: without it nothing is explained, least of all a spool.
func TestFsckWithoutAJournal(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("app.log"), "one\n")
	m.Publish()
	want(t, sinkfstest.Run(t, "umount", m.Point), 0, ".*", ".*")
	if err := os.RemoveAll(filepath.Join(m.State, "journal")); err != nil {
		t.Fatal(err)
	}
	refused := `sinkfs: .*the journal is gone or empty, but it was in use and its spool holds files \(1\): rebuild it with ` +
		`'sinkfs journal restore --from-target --state-dir ` + m.State + ` file://` + m.Target + `', .*\n`
	want(t, sinkfstest.Run(t, "mount", "-b", "--state-dir", m.State, m.Target, m.Point), 6, "", refused) // leaves an empty one
	want(t, sinkfstest.Run(t, "fsck", "--state-dir", m.State, m.Target), 6, "", refused)
}

func TestFsckWithoutAStateDirectory(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("app.log"), "one\n")
	m.Publish()
	want(t, sinkfstest.Run(t, "fsck", "--all", m.Target), 0, `.*target +finished .*no journal at hand.*`, "")
	none := filepath.Join(m.Dir, "none")
	want(t, sinkfstest.Run(t, "fsck", none), 7, "", `sinkfs: target: .* no such file or directory\n`)
	want(t, sinkfstest.Run(t, "fsck", "--state-dir", none, m.Target), 6, "", `sinkfs: .*/none is not a state directory, .*\n`)
	want(t, sinkfstest.Run(t, "fsck", "hdfs://nn/x"), 4, "", `sinkfs: target hdfs://nn/x: .*\n`)
	if _, err := os.Stat(none); err == nil {
		t.Error("fsck made a directory")
	}
}

func TestGC(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("app.log"), "one\n")
	m.Publish()
	want(t, sinkfstest.Run(t, "gc", m.Point), 0, "nothing to remove\n", "")
	part := finished(t, m)
	twin := filepath.Join(filepath.Dir(part), "twin")
	if out, err := exec.Command("cp", "--preserve=all", part, twin).CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	want(t, sinkfstest.Run(t, "fsck", m.Point), 9, ".*", ".*")
	want(t, sinkfstest.Run(t, "gc", m.Point), 0, `unreferenced +.*/twin .*is finished at.*\n`, "")
	if _, err := os.Stat(twin); err != nil {
		t.Fatalf("gc without --delete: %v", err)
	}
	want(t, sinkfstest.Run(t, "gc", "--delete", "--json", m.Point), 0, `\{.*"deleted":true\}\n`, "")
	if _, err := os.Stat(twin); err == nil {
		t.Error("the twin is still there")
	}
	if text, err := os.ReadFile(part); string(text) != "one\n" {
		t.Errorf("the part is %q, %v", text, err)
	}
	if r := sinkfstest.Run(t, "fsck", m.Point); r.Code != 0 || strings.Contains(r.Stdout, "!") {
		t.Errorf("after gc: %+v", r)
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

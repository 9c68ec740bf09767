package main_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// TestRestoreFromTarget: a mount is killed, its journal is lost, and the
// command that the next mount names brings all of it back.
func TestRestoreFromTarget(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("app.log"), "one\n")
	appendTo(t, m.Path("a.gz"), "file a\n")
	m.Publish()
	for name := range m.Finished() { // readers may delete what was announced
		if strings.HasSuffix(name, "a.gz") {
			if err := os.Remove(filepath.Join(m.Target, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	appendTo(t, m.Path("app.log"), "two\n")
	m.Publish()
	appendTo(t, m.Path("app.log"), "three\n")
	appendTo(t, m.Path("b.gz"), "file b\n")
	want(t, sinkfstest.Run(t, "journal", "restore", "--from-target", "--state-dir", m.State, m.Target), 6, "",
		`sinkfs: state directory is in use: .* belongs to process \d+, mounted at .*\n`)
	m.KillAll()
	if err := os.RemoveAll(filepath.Join(m.State, "journal")); err != nil {
		t.Fatal(err)
	}
	r := sinkfstest.Run(t, "mount", "-b", "--state-dir", m.State, "--checkpoint-interval", "0", m.Target, m.Point)
	want(t, r, 6, "", `sinkfs: .*rebuild it with '[^']+', .*\n`)
	command := strings.Fields(regexp.MustCompile(`rebuild it with 'sinkfs ([^']+)'`).FindStringSubmatch(r.Stderr)[1])
	want(t, sinkfstest.Run(t, append(command, "--dry-run")...), 0, `found +3 finished parts, 2 of them in the target; newest checkpoint 2\n`+
		`spool +2 files: 8 bytes finished, 13 to be published\nto publish +app.log: 6 of 14 bytes\nto publish +b.gz: 7 of 7 bytes\nnothing was changed\n`, "")
	want(t, sinkfstest.Run(t, "journal", "verify", "--state-dir", m.State), 0, `.*"records":\{\}.*`, "")
	want(t, sinkfstest.Run(t, command...), 0, `found .*rebuilt +instance [0-9a-f]{16} \(was [0-9a-f]{16}\); the old journal is in .*/replaced-.*\n`, "")

	m.Start()
	m.Publish()
	appendTo(t, m.Path("app.log"), "four\n")
	m.Publish()
	got := m.Records()
	for _, record := range []string{"one", "two", "three", "four", "file b"} {
		if got[record] != 1 {
			t.Errorf("%q is there %d times", record, got[record])
		}
	}
	if len(got) != 5 {
		t.Errorf("published %v", got)
	}
	fsck := sinkfstest.Run(t, "fsck", m.Point)
	want(t, fsck, 9, `.*\n! target +missing +[^\n]*a\.gz [^\n]*\n`, `sinkfs: 1 problem found: .*\n`)
	want(t, sinkfstest.Run(t, "gc", m.Point), 0, "nothing to remove\n", "")
}

// TestRestoreNamesWhatIsNotProved: without what tells of an object that was
// deleted, nothing is guessed.
func TestRestoreNamesWhatIsNotProved(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("app.log"), "one\n")
	m.Publish()
	appendTo(t, m.Path("done.log"), "done\n")
	m.Publish()
	want(t, sinkfstest.Run(t, "umount", m.Point), 0, ".*", ".*")
	for name, text := range m.Finished() {
		if text == "one\n" {
			if err := os.Remove(filepath.Join(m.Target, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, lost := range []string{"journal", "manifests", "rebuild"} {
		if err := os.RemoveAll(filepath.Join(m.State, lost)); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"journal", "restore", "--from-target", "--state-dir", m.State, m.Target}
	r := sinkfstest.Run(t, args...)
	want(t, r, 6, `.*! unproved +app.log: 4 of 4 bytes may be finished: .*! missing +nothing says which instance this .*`,
		`sinkfs: of 2 spool files it is not proved what is finished: "app.log", .*; --publish-unproved publishes that again\n`)
	uid := regexp.MustCompile(`'--instance ([0-9a-f]+)' takes it for one of which 1 objects`).FindStringSubmatch(r.Stdout)
	if uid == nil {
		t.Fatalf("no instance is named: %s", r.Stdout)
	}
	args = append(args, "--instance", uid[1])
	r = sinkfstest.Run(t, args...)
	want(t, r, 6, `.*! unproved +app.log: 4 of 4 bytes may be finished: the file .*/rebuild/base, .*`,
		`sinkfs: of 1 spool files it is not proved what is finished: "app.log", .*\n`)
	if _, err := os.Stat(filepath.Join(m.State, "journal")); err == nil {
		t.Error("a refused rebuild made a journal")
	}
	want(t, sinkfstest.Run(t, append(args, "--publish-unproved")...), 0, `.*rebuilt .*`, "")
	m.Start()
	m.Publish()
	if got := m.Records(); got["one"] != 1 || got["done"] != 1 {
		t.Errorf("published %v", got)
	}
}

func TestRestoreOfADamagedJournalIsNamed(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("app.log"), "one\n")
	m.Publish()
	want(t, sinkfstest.Run(t, "umount", m.Point), 0, ".*", ".*")
	if err := os.Remove(filepath.Join(m.State, "journal", "db", "MANIFEST")); err != nil {
		t.Fatal(err)
	}
	named := `sinkfs: .*journal damaged: .*: rebuild it with 'sinkfs journal restore --from-target --state-dir ` + m.State + ` .*` + m.Target + `'.*\n`
	want(t, sinkfstest.Run(t, "mount", "-b", "--state-dir", m.State, m.Target, m.Point), 6, "", named)
	want(t, sinkfstest.Run(t, "fsck", "--state-dir", m.State, m.Target), 6, "", named)
	want(t, sinkfstest.Run(t, "journal", "verify", "--state-dir", m.State), 6, "", named)
	want(t, sinkfstest.Run(t, "journal", "restore", "--dry-run", "--state-dir", m.State), 3, "", `sinkfs: these flags are for --from-target: .*\n`)
	want(t, sinkfstest.Run(t, "journal", "restore", "--from-target", "--state-dir", m.State), 0, `.*rebuilt .*`, "") // the target is known
	want(t, sinkfstest.Run(t, "fsck", "--state-dir", m.State, m.Target), 0, `.*`, "")
}

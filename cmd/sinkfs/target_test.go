package main_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// TestTargetThatWentAway while nothing was unfinished: its disk is not
// mounted, most likely, and neither the bare mountpoint nor a new directory
// in it is taken for the target.
func TestTargetThatWentAway(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("app.log"), "one\n")
	want(t, sinkfstest.Run(t, "umount", m.Point), 0, "", "")
	away := m.Target + ".away"
	if err := os.Rename(m.Target, away); err != nil {
		t.Fatal(err)
	}
	mount := func(code int, stderr string) {
		t.Helper()
		want(t, sinkfstest.Run(t, "mount", "-b", "--state-dir", m.State, m.Target, m.Point), code, "", stderr)
	}
	mount(7, "sinkfs: target .* is gone, mount its disk or put the directory back: .*\n")
	if _, err := os.Stat(m.Target); !os.IsNotExist(err) {
		t.Errorf("the target was made anew: %v", err)
	}
	if err := os.Mkdir(m.Target, 0o755); err != nil {
		t.Fatal(err)
	}
	mount(6, "sinkfs: target .* is not the one that state directory .* belongs to: .*\n")
	if err := os.Remove(m.Target); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(away, m.Target); err != nil {
		t.Fatal(err)
	}
	m.Start()
	appendTo(t, m.Path("app.log"), "two\n")
	m.Publish()
	if got := m.Records(); got["one"] != 1 || got["two"] != 1 {
		t.Errorf("published %v", got)
	}
}

// TestAnotherTarget takes the place of one that everything was published to:
// only then its last component is made.
func TestAnotherTarget(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("app.log"), "one\n")
	want(t, sinkfstest.Run(t, "umount", "--no-drain", m.Point), 8, "", ".*")
	first, another := m.Target, filepath.Join(m.Dir, "another")
	mount := func(target string, code int, stderr string) {
		t.Helper()
		want(t, sinkfstest.Run(t, "mount", "-b", "--state-dir", m.State, target, m.Point), code, "", stderr)
		if _, err := os.Stat(another); !os.IsNotExist(err) {
			t.Errorf("%s was made: %v", another, err)
		}
	}
	mount(another, 6, "sinkfs: state directory .* holds unpublished data of target file://"+first+", mount that target once more .*\n")
	mount(filepath.Join(m.Dir, "no", "parent"), 6, "sinkfs: state directory .* holds unpublished data of .*\n")
	m.Start()
	want(t, sinkfstest.Run(t, "umount", m.Point), 0, "", "")
	mount(filepath.Join(m.Dir, "no", "parent"), 7, "sinkfs: target .*: its parent directory "+m.Dir+"/no is missing, .*\n")
	mount("/proc/target", 7, "sinkfs: target .*: its parent directory /proc takes no directories, .*\n")
	mount("/proc/version/target", 7, "sinkfs: target .*: its parent directory /proc/version is a file, .*\n")

	m.Target = another
	m.Start()
	if info, err := os.Stat(another); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%s: %v, %v", another, info, err)
	}
	appendTo(t, m.Path("app.log"), "two\n")
	m.Publish()
	if got := m.Records(); len(got) != 1 || got["two"] != 1 {
		t.Errorf("published to the new target: %v", got)
	}
	m.Target = first
	if got := m.Records(); len(got) != 1 || got["one"] != 1 {
		t.Errorf("published to the old target: %v", got)
	}
}

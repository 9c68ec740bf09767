package main_test

import (
	"os"
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

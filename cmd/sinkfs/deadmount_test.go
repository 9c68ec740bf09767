package main_test

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// TestAppendsOutliveTheSupervisor: with its supervisor dead too, a mount takes appends and
// nothing else. The next mount publishes them.
func TestAppendsOutliveTheSupervisor(t *testing.T) {
	m := sinkfstest.New(t, "--passthrough=on")
	open := func(name string, flags int) *os.File {
		f, err := os.OpenFile(m.Path(name), flags|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("before " + name + "\n"); err != nil {
			t.Fatal(err)
		}
		return f
	}
	appended, written := open("appended.log", os.O_APPEND), open("written.log", 0)
	m.KillAll()
	if _, err := appended.WriteString("after\n"); err != nil {
		t.Errorf("append: %v", err)
	}
	_, err := written.WriteString("never\n")
	for call, err := range map[string]error{"write": err, "fsync": appended.Sync(), "close": appended.Close(), "close of written": written.Close()} {
		if !errors.Is(err, syscall.ENOTCONN) {
			t.Errorf("%s: %v, want ENOTCONN", call, err)
		}
	}
	m.Start()
	m.Publish()
	got := m.Records()
	if len(got) != 3 || got["before appended.log"] != 1 || got["before written.log"] != 1 || got["after"] != 1 {
		t.Errorf("published %v", got)
	}
}

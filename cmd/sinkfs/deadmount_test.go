package main_test

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

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

// TestProtectedMountpoint: what is beneath a mount takes no writes when the
// mount has died, until it is back and unmounted. The help says so.
func TestProtectedMountpoint(t *testing.T) {
	m := sinkfstest.At(t, "")
	m.Target = m.Dir + "/target"
	if err := os.Mkdir(m.Point, 0o755); err != nil {
		t.Fatal(err)
	}
	beneath := func(when string, mode os.FileMode) {
		t.Helper()
		if info, err := os.Stat(m.Point); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: beneath it is %v, %v, want %v", when, info, err, mode)
		}
	}
	m.Start("--protect-mountpoint")
	m.KillAll()
	if err := unix.Unmount(m.Point, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	beneath("dead", 0)
	m.Start("--protect-mountpoint")
	want(t, sinkfstest.Run(t, "umount", m.Point), 0, "", "")
	beneath("unmounted", 0o755)
	want(t, sinkfstest.Run(t, "mount", "--help"), 0,
		`.*--protect-mountpoint +refuse writes beneath a mount that died until it is back, also in a directory that existed before; an unmount undoes it\n.*`, "")
}

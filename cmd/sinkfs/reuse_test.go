package main_test

import (
	"errors"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/fusefs/mount"
	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// TestUnmountedWhereOthersMount: the kernel gives the number of a mount that is
// gone to the next one, whatever it is. That is no mount of ours that somebody
// aborted, which would be made anew.
func TestUnmountedWhereOthersMount(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("app.log"), "one\n")
	worker, device := m.Worker(), deviceAt(t, m.Point)
	if err := syscall.Kill(worker, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(m.Point, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	waitFor(t, "a mount with its number", func() bool {
		if err := unix.Mount("none", dir, "tmpfs", 0, "size=4k"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, 0) }) // TempDir says so if it stays
		return deviceAt(t, dir) == device
	})
	if err := syscall.Kill(worker, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the end of the mount", func() bool {
		_, err := mount.Query(t.Context(), m.State)
		return errors.Is(err, mount.ErrNoSupervisor)
	})
	parts, err := filepath.Glob(filepath.Join(m.Target, "*", "part-*"))
	if err != nil || len(parts) != 1 {
		t.Errorf("published %v: %v", parts, err)
	}
	if table, err := mount.Table(); err != nil || slices.ContainsFunc(table, func(e mount.Entry) bool { return e.Path == m.Point }) {
		t.Errorf("it is mounted again: %v", err)
	}
}

func deviceAt(t *testing.T, path string) string {
	t.Helper()
	table, err := mount.Table()
	if err != nil {
		t.Fatal(err)
	}
	e, _ := mount.At(table, path)
	return e.Device
}

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/internal/sinkfstest"
	"github.com/sinkfs/sinkfs/internal/testfs"
)

// A torn record of an open writer stays for the next mount.
func TestUnmountWithUnpublishedBytes(t *testing.T) {
	f := mountHere(t, nil)
	w, err := os.OpenFile(filepath.Join(f.point, "app.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.WriteString("whole\ntorn"); err != nil {
		t.Fatal(err)
	}
	r := sinkfstest.Run(t, "umount", f.point)
	want(t, r, 8, "", `(publishing: .* left\n)*sinkfs: 4 B not yet published \(1 open for writing\), kept in `+regexp.QuoteMeta(f.state)+` for the next mount.*\n`)
	if code := f.code(); code != 8 {
		t.Errorf("exit code %d\n%s", code, &f.errs)
	}
	if got := publishedText(t, f.target); got != "whole\n" {
		t.Errorf("finished %q", got)
	}
	want(t, sinkfstest.Run(t, "umount", f.point), 5, "", "sinkfs: .* is in no sinkfs mount, name the mountpoint or a path inside it\n")
}

func TestUnmountWithoutDrain(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("app.log"), "one\n")
	want(t, sinkfstest.Run(t, "umount", "--no-drain", m.Path("app.log")), 8, "", "sinkfs: 4 B not yet published .*\n")
	if got := m.Finished(); len(got) != 0 {
		t.Errorf("finished %v", got)
	}
	m.Start()
	want(t, sinkfstest.Run(t, "umount", m.Point), 0, "", "")
	if got := publishedText(t, m.Target); got != "one\n" {
		t.Errorf("finished %q", got)
	}
}

// After an unmount the disk of the state directory can be unmounted too.
func TestUnmountLeavesTheDisk(t *testing.T) {
	disk := testfs.New(t, testfs.Ext4, 128)
	point, target := t.TempDir(), t.TempDir()
	for range 5 {
		want(t, sinkfstest.Run(t, "mount", "-b", "--state-dir", filepath.Join(disk, "state"), target, point), 0, ".*\n", "")
		want(t, sinkfstest.Run(t, "umount", point), 0, "", "")
		if err := unix.Mount("", filepath.Dir(disk), "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			t.Fatalf("the disk of the state directory: %v", err)
		}
		if err := unix.Mount("", filepath.Dir(disk), "", unix.MS_REMOUNT, ""); err != nil {
			t.Fatal(err)
		}
	}
}

// An empty file is a part to be, though it has no bytes.
func TestUnmountCountsEmptyFiles(t *testing.T) {
	m := sinkfstest.New(t)
	appendTo(t, m.Path("a.gz"), "")
	want(t, sinkfstest.Run(t, "umount", "--no-drain", m.Point), 8, "", "sinkfs: 1 empty file not yet published .*\n")
	m.Start()
	appendTo(t, m.Path("app.log"), "one\n")
	want(t, sinkfstest.Run(t, "umount", "--no-drain", m.Point), 8, "", "sinkfs: 4 B and 1 empty file not yet published .*\n")
}

func TestUnmountOfDeadMount(t *testing.T) {
	f := mountHere(t, nil)
	appendTo(t, filepath.Join(f.point, "app.log"), "one\n")
	if err := f.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	f.code()
	want(t, sinkfstest.Run(t, "umount", f.point), 8, "", "the mount at .* was dead and is detached; mount it again to publish what was written\n")
}

// A second mount of the same thing elsewhere is the same mount.
func TestUnmountOfBindMount(t *testing.T) {
	f := mountHere(t, nil)
	appendTo(t, filepath.Join(f.point, "app.log"), "one\n")
	bind := t.TempDir()
	if err := unix.Mount(f.point, bind, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(bind, unix.MNT_DETACH) })
	want(t, sinkfstest.Run(t, "umount", bind), 0, "", "")
	if code := f.code(); code != 0 {
		t.Errorf("exit code %d\n%s", code, &f.errs)
	}
	if got := publishedText(t, f.target); got != "one\n" {
		t.Errorf("finished %q", got)
	}
}

// An unmount by umount(8) publishes as well.
func TestUmount8Publishes(t *testing.T) {
	f := mountHere(t, nil)
	appendTo(t, filepath.Join(f.point, "app.log"), "one\n")
	appendTo(t, filepath.Join(f.point, "a.gz"), "two\n")
	want(t, sinkfstest.Command(t, exec.Command("umount", f.point)), 0, "", "")
	if code := f.code(); code != 0 {
		t.Errorf("exit code %d\n%s", code, &f.errs)
	}
	if got := publishedText(t, f.target); len(got) != 8 {
		t.Errorf("finished %q", got)
	}
	if strings.Contains(f.errs.String(), "level=WARN") {
		t.Errorf("it warns of what is as it should be:\n%s", &f.errs)
	}
}

// What somebody took out of the spool is not published, and nothing of it is
// left: the unmount does not say that all is well.
func TestUnmountAfterALoss(t *testing.T) {
	f := mountHere(t, nil)
	appendTo(t, filepath.Join(f.point, "app.log"), "one\n")
	if err := os.Remove(filepath.Join(f.state, "spool/tree/app.log")); err != nil {
		t.Fatal(err)
	}
	want(t, sinkfstest.Run(t, "umount", f.point), 1, "", `(publishing: .* left\n)*sinkfs: .*the spool file of "app.log" was removed by somebody else.*\n`)
	if code := f.code(); code != 1 {
		t.Errorf("exit code %d\n%s", code, &f.errs)
	}
}

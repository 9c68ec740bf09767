// Package testfs gives tests real file systems: loop-mounted images and
// tmpfs, and power cuts on them. It needs root, loop devices, and the mkfs
// programs of e2fsprogs, xfsprogs and btrfs-progs.
package testfs

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Kind is a file system to test on.
type Kind string

// The file systems that sinkfs has to work on.
const (
	Ext4    Kind = "ext4"
	Ext4k1  Kind = "ext4-1k" // 1 KiB blocks: little room for attributes
	XFS     Kind = "xfs"     // with reflink
	Btrfs   Kind = "btrfs"
	Tmpfs   Kind = "tmpfs"
	Overlay Kind = "overlay" // all layers on one ext4
)

// Kinds lists them all.
func Kinds() []Kind { return []Kind{Ext4, Ext4k1, XFS, Btrfs, Tmpfs, Overlay} }

// minMiB is the least that mkfs accepts.
func minMiB(k Kind) int {
	switch k {
	case XFS:
		return 320
	case Btrfs:
		return 128
	case Ext4, Ext4k1, Tmpfs, Overlay:
	}
	return 16
}

// Each runs fn as a subtest on every file system, each in a fresh directory.
func Each(t *testing.T, fn func(t *testing.T, dir string)) {
	t.Helper()
	for _, k := range Kinds() {
		t.Run(string(k), func(t *testing.T) { fn(t, New(t, k, 128)) })
	}
}

// New mounts a fresh file system of about that size, never below what its
// mkfs needs, and returns an empty directory on it. It goes with the test.
func New(tb testing.TB, k Kind, sizeMiB int) string {
	tb.Helper()
	mnt := tb.TempDir()
	sizeMiB = max(sizeMiB, minMiB(k))
	switch k {
	case Tmpfs:
		mount(tb, mnt, "-t", "tmpfs", "-o", "mode=0755,size="+strconv.Itoa(sizeMiB)+"m", "tmpfs")
	case Overlay:
		layers := New(tb, Ext4, sizeMiB)
		opts := []string{"xino=off"}
		for _, l := range []string{"lower", "upper", "work"} {
			opts = append(opts, l+"dir="+mkdir(tb, layers, l))
		}
		mount(tb, mnt, "-t", "overlay", "-o", strings.Join(opts, ","), "overlay")
	case Ext4, Ext4k1, XFS, Btrfs:
		img := filepath.Join(tb.TempDir(), "img")
		Mkfs(tb, k, img, sizeMiB)
		Loop(tb, k, img, mnt)
	}
	return mkdir(tb, mnt, "d")
}

// Mkfs makes an image file.
func Mkfs(tb testing.TB, k Kind, img string, sizeMiB int) {
	tb.Helper()
	f, err := os.Create(img)
	if err != nil {
		tb.Fatal(err)
	}
	if err := f.Truncate(int64(max(sizeMiB, minMiB(k))) << 20); err != nil {
		tb.Fatal(err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
	args := map[Kind][]string{
		Ext4:   {"mkfs.ext4", "-q", "-F"},
		Ext4k1: {"mkfs.ext4", "-q", "-F", "-b", "1024"},
		XFS:    {"mkfs.xfs", "-q", "-f", "-m", "reflink=1"},
		Btrfs:  {"mkfs.btrfs", "-q", "-f"},
	}[k]
	run(tb, append(args, img)...)
}

// Loop mounts an image file until the test ends.
func Loop(tb testing.TB, k Kind, img, mnt string) {
	tb.Helper()
	opts := "loop"
	if k == XFS {
		opts += ",nouuid" // a clone of a mounted image has its id
	}
	mount(tb, mnt, "-o", opts, img)
}

// mount mounts; the mountpoint goes last, as in mount(8).
func mount(tb testing.TB, mnt string, args ...string) {
	tb.Helper()
	run(tb, append(append([]string{"mount"}, args...), mnt)...)
	tb.Cleanup(func() {
		// A process that was just forked has our files open until it has become
		// the program it is to be.
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if command(tb, "umount", mnt).Run() == nil {
				return
			}
		}
		// Something still has a file open there. The test must not leave
		// the mount behind, and must not pass.
		tb.Errorf("%s is still in use at the end of the test", mnt)
		run(tb, "umount", "-l", mnt)
	})
}

func run(tb testing.TB, args ...string) {
	tb.Helper()
	if out, err := command(tb, args...).CombinedOutput(); err != nil {
		tb.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// command outlives the test's context, which ends before its cleanups.
func command(tb testing.TB, args ...string) *exec.Cmd {
	tb.Helper()
	return exec.CommandContext(context.WithoutCancel(tb.Context()), args[0], args[1:]...)
}

func mkdir(tb testing.TB, dir, name string) string {
	tb.Helper()
	path := filepath.Join(dir, name)
	if err := os.Mkdir(path, 0o755); err != nil {
		tb.Fatal(err)
	}
	return path
}

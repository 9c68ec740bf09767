// Package testfs gives tests real file systems: loop-mounted images and
// tmpfs, and power cuts on them. It needs root, loop devices, and the mkfs
// programs of e2fsprogs, xfsprogs and btrfs-progs.
package testfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
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
func New(t testing.TB, k Kind, sizeMiB int) string {
	t.Helper()
	mnt := t.TempDir()
	sizeMiB = max(sizeMiB, minMiB(k))
	switch k {
	case Tmpfs:
		mount(t, mnt, "-t", "tmpfs", "-o", "mode=0755,size="+strconv.Itoa(sizeMiB)+"m", "tmpfs")
	case Overlay:
		layers := New(t, Ext4, sizeMiB)
		opts := "xino=off"
		for _, l := range []string{"lower", "upper", "work"} {
			opts += "," + l + "dir=" + mkdir(t, layers, l)
		}
		mount(t, mnt, "-t", "overlay", "-o", opts, "overlay")
	case Ext4, Ext4k1, XFS, Btrfs:
		img := filepath.Join(t.TempDir(), "img")
		Mkfs(t, k, img, sizeMiB)
		Loop(t, k, img, mnt)
	}
	return mkdir(t, mnt, "d")
}

// Mkfs makes an image file.
func Mkfs(t testing.TB, k Kind, img string, sizeMiB int) {
	t.Helper()
	f, err := os.Create(img)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(int64(max(sizeMiB, minMiB(k))) << 20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	args := map[Kind][]string{
		Ext4:   {"mkfs.ext4", "-q", "-F"},
		Ext4k1: {"mkfs.ext4", "-q", "-F", "-b", "1024"},
		XFS:    {"mkfs.xfs", "-q", "-f", "-m", "reflink=1"},
		Btrfs:  {"mkfs.btrfs", "-q", "-f"},
	}[k]
	run(t, append(args, img)...)
}

// Loop mounts an image file until the test ends.
func Loop(t testing.TB, k Kind, img, mnt string) {
	t.Helper()
	opts := "loop"
	if k == XFS {
		opts += ",nouuid" // a clone of a mounted image has its id
	}
	mount(t, mnt, "-o", opts, img)
}

// mount mounts; the mountpoint goes last, as in mount(8).
func mount(t testing.TB, mnt string, args ...string) {
	t.Helper()
	run(t, append(append([]string{"mount"}, args...), mnt)...)
	t.Cleanup(func() {
		if exec.Command("umount", mnt).Run() == nil {
			return
		}
		// Something still has a file open there. The test must not leave
		// the mount behind, and must not pass.
		t.Errorf("%s is still in use at the end of the test", mnt)
		run(t, "umount", "-l", mnt)
	})
}

func run(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

func mkdir(t testing.TB, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

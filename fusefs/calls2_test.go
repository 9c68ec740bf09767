package fusefs_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFsyncPublishesNothing(t *testing.T) {
	both(t, func(t *testing.T, m *mounted) {
		f := open(t, m.path("a.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_SYNC)
		write(t, f, "x\n")
		must(t, f.Sync())
		must(t, unix.Fdatasync(int(f.Fd())))
		d := open(t, m.mnt, os.O_RDONLY)
		must(t, d.Sync())
		if n := len(m.finished()); n != 0 {
			t.Errorf("%d objects", n)
		}
	})
}

func TestFallocate(t *testing.T) {
	both(t, func(t *testing.T, m *mounted) {
		f := open(t, m.path("a.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND)
		must(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, 4096))
		wantErrno(t, "fallocate of a stream", unix.Fallocate(int(f.Fd()), 0, 0, 4096), syscall.EPERM)
		wantErrno(t, "punch in a stream", unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE, 0, 4096), syscall.EPERM)
		if got := sizeOf(t, m.path("a.log")); got != 0 {
			t.Errorf("size %d", got)
		}
	})
}

func TestXattrs(t *testing.T) {
	m := mount(t, daemonConfig{})
	must(t, os.WriteFile(m.path("a.log"), []byte("x\n"), 0o644))
	wantErrno(t, "setxattr", unix.Setxattr(m.path("a.log"), "user.x", []byte("1"), 0), syscall.EOPNOTSUPP)
	wantErrno(t, "set an ACL", unix.Setxattr(m.path("a.log"), "system.posix_acl_access", make([]byte, 28), 0), syscall.EOPNOTSUPP)
	buf := make([]byte, 256)
	if n, err := unix.Listxattr(m.path("a.log"), buf); n != 0 || err != nil {
		t.Errorf("listxattr: %q, %v", buf[:max(n, 0)], err)
	}
	get := func(path, name string) string {
		n, err := unix.Getxattr(path, "user.sinkfs."+name, buf)
		if err != nil {
			t.Errorf("%s of %s: %v", name, path, err)
			return ""
		}
		return string(buf[:n])
	}
	if got := get(m.path("a.log"), "bytes"); got != "2" {
		t.Errorf("bytes %q", got)
	}
	if got := get(m.path("a.log"), "published"); got != "0" {
		t.Errorf("published %q", got)
	}
	_, err := unix.Getxattr(m.path("a.log"), "user.sinkfs.unknown", buf)
	wantErrno(t, "unknown attribute", err, syscall.ENODATA)
	_, err = unix.Getxattr(m.path("a.log"), "security.capability", buf)
	wantErrno(t, "security.capability", err, syscall.ENODATA)
	p := m.finish("x", "123")
	for name, want := range map[string]string{"state": "finished", "bytes": "3", "published": "3", "error": ""} {
		if got := get(p, name); got != want {
			t.Errorf("%s %q, want %q", name, got, want)
		}
	}
	if n, err := strconv.Atoi(get(p, "checkpoint")); err != nil || n < 1 {
		t.Errorf("checkpoint %d, %v", n, err)
	}
	if got, want := get(p, "url"), "file://"+m.target+"/files/x"; got != want {
		t.Errorf("url %q, want %q", got, want)
	}
	if get(p, "checksum") == "" {
		t.Error("no checksum")
	}
}

func TestLocks(t *testing.T) {
	m := mount(t, daemonConfig{})
	f := open(t, m.path("a.log"), os.O_CREATE|os.O_RDWR)
	g := open(t, m.path("a.log"), os.O_RDWR)
	must(t, unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB))
	wantErrno(t, "second flock", unix.Flock(int(g.Fd()), unix.LOCK_EX|unix.LOCK_NB), syscall.EWOULDBLOCK)
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	must(t, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock))
	wantErrno(t, "second fcntl lock", unix.FcntlFlock(g.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}), syscall.EAGAIN)
}

func TestStatfsShowsTheSpool(t *testing.T) {
	m := mount(t, daemonConfig{})
	var here, spool unix.Statfs_t
	must(t, unix.Statfs(m.mnt, &here))
	must(t, unix.Statfs(m.c.Dir+"/state", &spool))
	if a, b := here.Blocks*uint64(here.Bsize), spool.Blocks*uint64(spool.Bsize); a/1e6 != b/1e6 || here.Bavail == 0 {
		t.Errorf("%d bytes, the spool has %d", a, b)
	}
}

func TestSharedMapOfAStreamWithoutPassthrough(t *testing.T) {
	m := mount(t, daemonConfig{Passthrough: "off"})
	f := open(t, m.path("a.log"), os.O_CREATE|os.O_RDWR)
	write(t, f, "x\n")
	_, err := unix.Mmap(int(f.Fd()), 0, 2, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	wantErrno(t, "mmap", err, syscall.ENODEV)
}

func TestFinishedFilesAreMapped(t *testing.T) {
	m := mount(t, daemonConfig{})
	p := m.finish("x", "mapped")
	f := open(t, p, os.O_RDONLY)
	b, err := unix.Mmap(int(f.Fd()), 0, 6, unix.PROT_READ, unix.MAP_SHARED)
	must(t, err)
	if string(b) != "mapped" {
		t.Errorf("%q", b)
	}
	must(t, unix.Munmap(b))
}

// TestRewritersRace has several programs rewrite one stream at once: none of
// them meets an error, and no line is lost.
func TestRewritersRace(t *testing.T) {
	both(t, func(t *testing.T, m *mounted) {
		const writers, times = 6, 150
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() {
				for i := range times {
					err := os.WriteFile(m.path("app.log"), fmt.Appendf(nil, "%d-%d\n", w, i), 0o644) // O_TRUNC
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		m.publish()
		seen := map[string]int{}
		for line := range strings.Lines(m.published()) {
			seen[line]++
		}
		for w := range writers {
			for i := range times {
				if line := fmt.Sprintf("%d-%d\n", w, i); seen[line] != 1 {
					t.Errorf("%q is published %d times", line, seen[line])
				}
			}
		}
	})
}

// splice(2), which cp and sendfile use, never shows zeros for what was
// appended after it looked last.
func TestSpliceOfAGrowingStream(t *testing.T) {
	both(t, func(t *testing.T, m *mounted) {
		var p [2]int
		must(t, unix.Pipe(p[:]))
		defer func() { _ = syscall.Close(p[0]) }()
		defer func() { _ = syscall.Close(p[1]) }()
		for _, name := range []string{"a.log", "files/a"} {
			w := open(t, m.path(name), os.O_WRONLY|os.O_APPEND|os.O_CREATE)
			r := open(t, m.path(name), os.O_RDONLY)
			for _, text := range []string{"one\n", "two\n"} {
				write(t, w, text)
				_, err := unix.Splice(int(r.Fd()), nil, p[1], nil, 4096, 0)
				if name == "a.log" && m.c.Passthrough == "on" {
					wantErrno(t, "splice", err, unix.EINVAL) // who asks falls back to read(2)
					continue
				}
				must(t, err)
				buf := make([]byte, 4096)
				n, err := unix.Read(p[0], buf)
				must(t, err)
				if string(buf[:n]) != text {
					t.Fatalf("%s: %q, want %q", name, buf[:n], text)
				}
			}
		}
	})
}

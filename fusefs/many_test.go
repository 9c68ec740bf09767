package fusefs_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLargeDirectory lists many finished files, in steps, while the kernel
// asks page by page.
func TestLargeDirectory(t *testing.T) {
	const files = 5_000
	m := mount(t, daemonConfig{})
	dir := filepath.Join(m.target, "foreign")
	must(t, os.Mkdir(dir, 0o755))
	for i := range files {
		fd, err := unix.Open(fmt.Sprintf("%s/%06d", dir, i), unix.O_CREAT|unix.O_WRONLY, 0o644)
		must(t, err)
		must(t, unix.Close(fd))
	}
	d := open(t, m.path("foreign"), os.O_RDONLY)
	for range 2 {
		seen := map[string]bool{}
		for {
			names, err := d.Readdirnames(1000)
			for _, n := range names {
				if seen[n] {
					t.Fatalf("%s was listed twice", n)
				}
				seen[n] = true
			}
			if err == io.EOF {
				break
			}
			must(t, err)
		}
		if len(seen) != files {
			t.Errorf("%d names, want %d", len(seen), files)
		}
		_, err := d.Seek(0, io.SeekStart)
		must(t, err)
	}
}

// TestManyHandles holds more files open than a process usually may.
func TestManyHandles(t *testing.T) {
	const files = 2_000
	var limit unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	was := limit
	limit.Cur, limit.Max = files+1000, max(limit.Max, files+1000)
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	m := mount(t, daemonConfig{})
	var fds []int
	for i := range files {
		fd, err := unix.Open(m.path(fmt.Sprintf("%d.log", i)), unix.O_CREAT|unix.O_WRONLY|unix.O_APPEND, 0o644)
		must(t, err)
		fds = append(fds, fd)
		_, err = unix.Write(fd, []byte("1\n"))
		must(t, err)
	}
	m.replace()
	for _, fd := range fds {
		_, err := unix.Write(fd, []byte("2\n"))
		must(t, err)
	}
	m.publish()
	if got := len(m.published()); got != files*4 {
		t.Errorf("%d bytes published, want %d", got, files*4)
	}
	for _, fd := range fds {
		must(t, unix.Close(fd))
	}
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &was))
}

// TestSpaceComesBack: the kernel holds a backing file until it is told, so a
// removed spool file would keep its space. The second worker removes what the
// first one registered.
func TestSpaceComesBack(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		t.Run(fmt.Sprintf("replaced=%v", replaced), func(t *testing.T) {
			m := mount(t, daemonConfig{Passthrough: "on", Tmpfs: true})
			used := func() int64 {
				var st unix.Statfs_t
				must(t, unix.Statfs(m.c.Dir+"/state", &st))
				return int64(st.Blocks-st.Bfree) * st.Bsize
			}
			before := used()
			must(t, os.MkdirAll(m.path("files"), 0o755))
			must(t, os.WriteFile(m.path("files/big"), make([]byte, 64<<20), 0o644))
			if got := used() - before; got < 60<<20 {
				t.Fatalf("the spool took %d bytes", got)
			}
			if replaced {
				m.replace()
			}
			eventually(t, "the space is free again", func() bool {
				m.publish()
				return used()-before < 30<<20
			})
		})
	}
}

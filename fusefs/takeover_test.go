package fusefs_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestHandlesSurviveTheWorker(t *testing.T) {
	both(t, func(t *testing.T, m *mounted) {
		for i := range 300 {
			must(t, os.MkdirAll(m.path("files/many"), 0o755))
			must(t, os.WriteFile(m.path(fmt.Sprintf("files/many/%03d", i)), nil, 0o644))
		}
		p := m.finish("many/done", "finished\n")
		reader := open(t, p, os.O_RDONLY)
		appender := open(t, m.path("app.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND)
		write(t, appender, "1\n")
		seeker := open(t, m.path("app.log"), os.O_RDWR)
		_, err := seeker.Seek(0, io.SeekEnd)
		must(t, err)
		write(t, seeker, "2\n")
		write(t, appender, "3\n")
		file := open(t, m.path("files/open.bin"), os.O_CREATE|os.O_RDWR)
		write(t, file, "abc")
		gone := open(t, m.path("gone.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND)
		must(t, os.Remove(m.path("gone.log")))
		dir := open(t, m.path("files/many"), os.O_RDONLY)
		names := map[string]int{}
		list, err := dir.Readdirnames(100)
		must(t, err)
		for _, n := range list {
			names[n]++
		}
		for round := range 2 {
			m.replace()
			// The position of the handle is known: 3 is behind it.
			write(t, seeker, "4\n")
			write(t, appender, "5\n")
			_, err = file.WriteAt([]byte("X"), int64(round))
			must(t, err)
			must(t, appender.Sync())
			st, err := gone.Stat()
			must(t, err)
			if st.Size() != 0 && round == 0 {
				t.Errorf("size %d of the unlinked file", st.Size())
			}
			write(t, gone, "g\n")
			buf := make([]byte, 9)
			if n, err := reader.ReadAt(buf, 0); string(buf[:n]) != "finished\n" {
				t.Errorf("%q, %v", buf[:n], err)
			}
			if err := m.checkpoint("now\n"); err != nil {
				t.Errorf("checkpoint after take-over: %v", err)
			}
		}
		for {
			list, err := dir.Readdirnames(100)
			for _, n := range list {
				names[n]++
			}
			if err == io.EOF {
				break
			}
			must(t, err)
		}
		if len(names) != 301 {
			t.Errorf("%d names listed, want 301", len(names))
		}
		for n, count := range names {
			if count != 1 {
				t.Errorf("%s was listed %d times", n, count)
			}
		}
		must(t, file.Close())
		must(t, gone.Close())
		eventually(t, "all is published", func() bool {
			m.publish()
			return len(m.published()) == len("finished\n")+2*7+3+4
		})
		all := m.published()
		for _, want := range []string{"1\n2\n3\n4\n5\n", "XXc", "g\n"} {
			if !strings.Contains(all, want) {
				t.Errorf("%q is not in %q", want, all)
			}
		}
	})
}

func TestDirectoriesSurviveTheWorker(t *testing.T) {
	m := mount(t, daemonConfig{})
	m.finish("deep/er/x", "1")
	must(t, os.MkdirAll(m.target+"/foreign/sub", 0o755))
	must(t, os.WriteFile(m.target+"/foreign/sub/obj", []byte("theirs"), 0o644))
	wd := open(t, m.path("foreign/sub"), os.O_RDONLY) // only the store has it
	m.replace()
	fd, err := unix.Openat(int(wd.Fd()), "new.log", unix.O_CREAT|unix.O_WRONLY|unix.O_APPEND, 0o644)
	must(t, err)
	// It is one directory, whether the spool has it or not.
	inside, err := wd.Stat()
	must(t, err)
	if byName, err := os.Stat(m.path("foreign/sub")); err != nil || !os.SameFile(inside, byName) {
		t.Errorf("the directory is another one by its name: %v", err)
	}
	m.replace()
	if byName, err := os.Stat(m.path("foreign/sub")); err != nil || !os.SameFile(inside, byName) {
		t.Errorf("the directory is another one for the next worker: %v", err)
	}
	_, err = unix.Write(fd, []byte("line\n"))
	must(t, err)
	must(t, unix.Close(fd))
	if got := sizeOf(t, m.path("foreign/sub/new.log")); got != 5 {
		t.Errorf("size %d", got)
	}
	if b, err := os.ReadFile(m.path("foreign/sub/obj")); string(b) != "theirs" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestEqualLinesUnderTakeOver writes lines that no comparison could tell
// apart, on every write path, while workers are killed.
func TestEqualLinesUnderTakeOver(t *testing.T) {
	both(t, func(t *testing.T, m *mounted) {
		const line = "the same line\n"
		stop := make(chan struct{})
		var wg sync.WaitGroup
		var mu sync.Mutex
		acknowledged := 0
		writer := func(name string, flags int, reopen bool) {
			var mine int
			var fd int
			var err error
			if fd, err = unix.Open(m.path(name), flags|unix.O_CREAT, 0o644); err != nil {
				t.Errorf("open %s: %v", name, err)
				return
			}
			for {
				select {
				case <-stop:
					_ = unix.Close(fd)
					mu.Lock()
					acknowledged += mine
					mu.Unlock()
					return
				default:
				}
				n, err := unix.Write(fd, []byte(line))
				if err != nil || n != len(line) {
					t.Errorf("write %s: %d, %v", name, n, err)
					return
				}
				mine++
				if reopen {
					if err := unix.Close(fd); err != nil {
						t.Errorf("close %s: %v", name, err)
					}
					if fd, err = unix.Open(m.path(name), flags|unix.O_CREAT, 0o644); err != nil {
						t.Errorf("open %s: %v", name, err)
						return
					}
				}
			}
		}
		for i, w := range []struct {
			flags  int
			reopen bool
		}{{unix.O_WRONLY | unix.O_APPEND, false}, {unix.O_WRONLY | unix.O_APPEND, true}, {unix.O_RDWR, false}, {unix.O_RDWR | unix.O_APPEND, true}} {
			wg.Go(func() { writer(fmt.Sprintf("w%d.log", i), w.flags, w.reopen) })
		}
		wg.Go(func() { churn(t, m, stop) })
		for range 6 {
			pause(time.Duration(rand.IntN(150)+20) * time.Millisecond)
			m.replace()
		}
		close(stop)
		wg.Wait()
		if t.Failed() {
			return
		}
		eventually(t, "every line is published, once", func() bool {
			m.publish()
			return strings.Count(m.published(), line) >= acknowledged
		})
		eventually(t, "no handle is left over", func() bool { return m.writers() == 0 })
		all := m.published()
		if got := strings.Count(all, line); got != acknowledged || len(strings.ReplaceAll(all, line, "")) != 0 {
			t.Errorf("%d lines published, %d acknowledged", got, acknowledged)
		}
	})
}

// churn changes names all the time; every call has one right answer.
func churn(t *testing.T, m *mounted, stop <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		a, b, d := m.path(fmt.Sprintf(".a%d", i)), m.path(fmt.Sprintf(".b%d", i)), m.path(fmt.Sprintf("d%d", i))
		fd, err := unix.Open(a, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, 0o600)
		if err != nil {
			t.Errorf("create %s: %v", a, err)
			return
		}
		for what, err := range map[string]error{
			"close": unix.Close(fd), "mkdir": unix.Mkdir(d, 0o755), "rename": unix.Rename(a, b), "truncate": unix.Truncate(b, 0),
			"chmod": unix.Chmod(b, 0o640),
		} {
			if err != nil {
				t.Errorf("%s %d: %v", what, i, err)
			}
		}
		if err := unix.Unlink(b); err != nil {
			t.Errorf("unlink %d: %v", i, err)
		}
		if err := unix.Rmdir(d); err != nil {
			t.Errorf("rmdir %d: %v", i, err)
		}
		if err := unix.Access(b, unix.F_OK); !errors.Is(err, syscall.ENOENT) {
			t.Errorf("access %d: %v", i, err)
		}
	}
}

func pause(d time.Duration) { <-time.After(d) }

// An open finished file is all that it was for the next worker.
func TestFinishedHandleAfterATakeOver(t *testing.T) {
	m := mount(t, daemonConfig{})
	must(t, os.Mkdir(filepath.Join(m.target, "d"), 0o755))
	for i := range 1100 {
		must(t, os.WriteFile(filepath.Join(m.target, "d", "f"+strings.Repeat("x", i%200)+string(rune('a'+i/200))), []byte("1\n"), 0o644))
	}
	list, err := os.ReadDir(filepath.Join(m.target, "d"))
	must(t, err)
	f := open(t, m.path("d/"+list[0].Name()), os.O_RDONLY)
	for _, e := range list {
		_, err := os.Stat(m.path("d/" + e.Name()))
		must(t, err)
	}
	m.replace()
	if _, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_DATA); err != nil {
		t.Errorf("SEEK_DATA: %v", err)
	}
}

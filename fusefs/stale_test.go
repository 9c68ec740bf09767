package fusefs_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A listing that was empty is made anew when it is read from the start again.
func TestEmptyListingIsMadeAnew(t *testing.T) {
	m := mount(t, daemonConfig{})
	must(t, os.Mkdir(m.path("d"), 0o755))
	d, err := os.Open(m.path("d"))
	must(t, err)
	defer d.Close()
	if names, _ := d.Readdirnames(-1); len(names) != 0 {
		t.Fatalf("%q in a new directory", names)
	}
	must(t, os.WriteFile(m.path("d/a.log"), []byte("one\n"), 0o644))
	m.publish()
	_, err = d.Seek(0, 0)
	must(t, err)
	if names, _ := d.Readdirnames(-1); len(names) != 1 {
		t.Errorf("%q after a part was published, want its bucket", names)
	}
}

// A directory that only the store had keeps the mode that it is given.
func TestModeOfAStoreDirectoryIsKept(t *testing.T) {
	m := mount(t, daemonConfig{})
	must(t, os.Mkdir(filepath.Join(m.target, "pub"), 0o755))
	must(t, os.WriteFile(filepath.Join(m.target, "pub/f"), nil, 0o644))
	must(t, os.Chmod(m.path("pub"), 0o700))
	for range 2 { // by LOOKUP, then by GETATTR
		pause(1200e6) // longer than the kernel believes it
		info, err := os.Stat(m.path("pub"))
		must(t, err)
		if info.Mode().Perm() != 0o700 {
			t.Errorf("mode %v, want 0700", info.Mode().Perm())
		}
	}
}

// What is written below a renamed directory that once only the store had is
// published below its new name.
func TestRenamedStoreDirectory(t *testing.T) {
	m := mount(t, daemonConfig{})
	must(t, os.Mkdir(filepath.Join(m.target, "a"), 0o755))
	must(t, os.WriteFile(filepath.Join(m.target, "a/f"), nil, 0o644))
	_, err := os.Stat(m.path("a"))
	must(t, err)
	must(t, os.WriteFile(m.path("a/x.tmp"), nil, 0o644)) // gives it a spool directory
	must(t, os.RemoveAll(filepath.Join(m.target, "a")))  // a reader took all
	must(t, os.Rename(m.path("a"), m.path("b")))
	must(t, os.WriteFile(m.path("b/y.log"), []byte("one\n"), 0o644))
	m.publish()
	for key := range m.finished() {
		if !strings.HasPrefix(key, "b/") {
			t.Errorf("published as %q, written below b", key)
		}
	}
}

// splice(2), which cp and sendfile use, never shows zeros for what was
// appended after it looked last.
func TestSpliceOfAGrowingStream(t *testing.T) {
	both(t, func(t *testing.T, m *mounted) {
		w := open(t, m.path("a.log"), os.O_WRONLY|os.O_APPEND|os.O_CREATE)
		write(t, w, "one\n")
		r := open(t, m.path("a.log"), os.O_RDONLY)
		var p [2]int
		must(t, unix.Pipe(p[:]))
		defer func() { _ = syscall.Close(p[0]) }()
		defer func() { _ = syscall.Close(p[1]) }()
		for _, want := range []string{"one\n", "two\n"} {
			_, err := unix.Splice(int(r.Fd()), nil, p[1], nil, 4096, 0)
			if err == unix.EINVAL {
				return // refused, who asks falls back to read(2)
			}
			must(t, err)
			buf := make([]byte, 4096)
			n, err := unix.Read(p[0], buf)
			must(t, err)
			if string(buf[:n]) != want {
				t.Fatalf("%q, want %q", buf[:n], want)
			}
			write(t, w, "two\n")
		}
	})
}

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

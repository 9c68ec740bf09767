package fusefs_test

import (
	"errors"
	"io"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func asErrno(err error, target *syscall.Errno) bool { return errors.As(err, target) }

// both runs a test once with passthrough and once without.
func both(t *testing.T, run func(t *testing.T, m *mounted)) {
	for _, how := range []string{"on", "off"} {
		t.Run("passthrough="+how, func(t *testing.T) { run(t, mount(t, daemonConfig{Passthrough: how})) })
	}
}

func open(t testing.TB, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0o644)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func write(t testing.TB, f *os.File, text string) {
	t.Helper()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	st, err := os.Stat(path)
	must(t, err)
	return st.Size()
}

func TestStreamCreateAppendClose(t *testing.T) {
	both(t, func(t *testing.T, m *mounted) {
		f := open(t, m.path("app.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND)
		write(t, f, "one\n")
		g := open(t, m.path("app.log"), os.O_WRONLY|os.O_APPEND)
		write(t, g, "two\n")
		if n, err := unix.Pwrite(int(f.Fd()), []byte("three\n"), 1); err != nil || n != 6 { // Linux appends
			t.Errorf("pwrite with O_APPEND: %d, %v", n, err)
		}
		if got, want := sizeOf(t, m.path("app.log")), int64(14); got != want {
			t.Errorf("size %d, want %d", got, want)
		}
		m.publish()
		if got, want := m.published(), "one\ntwo\nthree\n"; got != want {
			t.Errorf("published %q, want %q", got, want)
		}
		if got := sizeOf(t, m.path("app.log")); got != 14 {
			t.Errorf("size after publishing %d, want 14", got)
		}
	})
}

func TestWriteElsewhereIsESPIPE(t *testing.T) {
	both(t, func(t *testing.T, m *mounted) {
		f := open(t, m.path("app.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC)
		write(t, f, "0123456789\n")
		_, err := f.WriteAt([]byte("x"), 3)
		wantErrno(t, "pwrite inside", err, syscall.ESPIPE)
		_, err = f.WriteAt([]byte("x"), 100)
		wantErrno(t, "pwrite beyond", err, syscall.ESPIPE)
		if _, err := f.WriteAt([]byte("end\n"), 11); err != nil {
			t.Errorf("pwrite at the end: %v", err)
		}
		g := open(t, m.path("app.log"), os.O_RDWR)
		_, err = g.WriteString("over")
		wantErrno(t, "write at 0 of a stream that holds bytes", err, syscall.ESPIPE)
		if _, err := g.Seek(0, io.SeekEnd); err != nil {
			t.Fatal(err)
		}
		write(t, g, "more\n")
		got, err := os.ReadFile(m.path("app.log"))
		must(t, err)
		if want := "0123456789\nend\nmore\n"; string(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

func TestTruncateToNothingKeepsWhatWasWritten(t *testing.T) {
	both(t, func(t *testing.T, m *mounted) {
		f := open(t, m.path("app.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC)
		write(t, f, "first\n")
		appender := open(t, m.path("app.log"), os.O_WRONLY|os.O_APPEND)
		must(t, f.Truncate(0))
		if got := sizeOf(t, m.path("app.log")); got != 0 {
			t.Errorf("size %d after ftruncate(0), want 0", got)
		}
		write(t, appender, "second\n")
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		write(t, f, "third\n") // 0 is no longer the end: appended all the same
		must(t, f.Truncate(sizeOf(t, m.path("app.log"))))
		wantErrno(t, "truncate to another size", f.Truncate(3), syscall.EPERM)
		g := open(t, m.path("app.log"), os.O_WRONLY|os.O_TRUNC)
		write(t, g, "fourth\n")
		write(t, appender, "fifth\n")
		got, err := os.ReadFile(m.path("app.log"))
		must(t, err)
		if want := "fourth\nfifth\n"; string(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
		m.publish()
		if got, want := m.published(), "first\nsecond\nthird\nfourth\nfifth\n"; got != want {
			t.Errorf("published %q, want %q", got, want)
		}
	})
}

func TestFileAnythingGoesUntilClose(t *testing.T) {
	both(t, func(t *testing.T, m *mounted) {
		f := open(t, m.path("files/x.csv"), os.O_CREATE|os.O_RDWR)
		write(t, f, "hello world")
		_, err := f.WriteAt([]byte("J"), 0)
		must(t, err)
		must(t, f.Truncate(5))
		must(t, unix.Fallocate(int(f.Fd()), 0, 0, 16))
		b, err := unix.Mmap(int(f.Fd()), 0, 16, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		must(t, err)
		copy(b[5:], "!\n")
		must(t, unix.Munmap(b))
		must(t, f.Truncate(7))
		must(t, f.Close())
		eventually(t, "the file is published", func() bool {
			m.publish()
			return m.finished()["files/x.csv"] == "Jello!\n"
		})
		got, err := os.ReadFile(m.path("files/x.csv"))
		must(t, err)
		if string(got) != "Jello!\n" {
			t.Errorf("%q", got)
		}
	})
}

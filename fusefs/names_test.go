package fusefs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/lifecycle"
)

// finish makes a finished file of a file sink and returns its path.
func (m *mounted) finish(name, text string) string {
	m.t.Helper()
	p := m.path("files/" + name)
	must(m.t, os.MkdirAll(filepath.Dir(p), 0o755))
	must(m.t, os.WriteFile(p, []byte(text), 0o644))
	eventually(m.t, name+" is finished", func() bool {
		m.publish()
		_, err := os.Stat(filepath.Join(m.target, "files", name))
		return err == nil
	})
	return p
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestOpenOfAFinishedName(t *testing.T) {
	m := mount(t, daemonConfig{})
	p := m.finish("done.csv", "a,b\n")
	_, err := os.OpenFile(p, os.O_WRONLY, 0)
	wantErrno(t, "open for write", err, syscall.EPERM)
	_, err = os.OpenFile(p, os.O_RDWR|os.O_CREATE, 0o644)
	wantErrno(t, "open with O_CREAT", err, syscall.EPERM)
	_, err = os.OpenFile(p, os.O_WRONLY|os.O_TRUNC, 0)
	wantErrno(t, "open with O_TRUNC", err, syscall.EPERM)
	_, err = os.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	wantErrno(t, "open with O_EXCL", err, syscall.EEXIST)
	wantErrno(t, "truncate", os.Truncate(p, 0), syscall.EPERM)
	must(t, os.Truncate(p, 4))
	got, err := os.ReadFile(p)
	if err != nil || string(got) != "a,b\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRenameOfUnfinishedNames(t *testing.T) {
	both(t, func(t *testing.T, m *mounted) {
		must(t, os.Mkdir(m.path("d"), 0o755))
		f := open(t, m.path("a.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND)
		write(t, f, "one\n")
		must(t, os.Rename(m.path("a.log"), m.path("d/b.log")))
		write(t, f, "two\n") // the open descriptor goes on
		if got := sizeOf(t, m.path("d/b.log")); got != 8 {
			t.Errorf("size %d, want 8", got)
		}
		_, err := os.Stat(m.path("a.log"))
		wantErrno(t, "old name", err, syscall.ENOENT)

		// A stream onto a live one: that one's records go out all the same.
		g := open(t, m.path("c.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND)
		write(t, g, "three\n")
		must(t, os.Rename(m.path("c.log"), m.path("d/b.log")))
		if got := sizeOf(t, m.path("d/b.log")); got != 6 {
			t.Errorf("size %d, want 6", got)
		}

		// A file takes the new name, and replaces an unfinished one.
		must(t, os.WriteFile(m.path("files/x"), []byte("old"), 0o644))
		must(t, os.WriteFile(m.path("files/.x.tmp"), []byte("new"), 0o644))
		must(t, os.Rename(m.path("files/.x.tmp"), m.path("files/x")))
		must(t, f.Close())
		must(t, g.Close())
		eventually(t, "the file is published", func() bool {
			m.publish()
			return m.finished()["files/x"] == "new"
		})
		all := m.published()
		for _, want := range []string{"one\n", "two\n", "three\n"} {
			if strings.Count(all, want) != 1 {
				t.Errorf("%q is in %q %d times", want, all, strings.Count(all, want))
			}
		}
		must(t, os.WriteFile(m.path("q1.log"), nil, 0o644))
		must(t, os.WriteFile(m.path("q2.log"), nil, 0o644))
		err = unix.Renameat2(unix.AT_FDCWD, m.path("q1.log"), unix.AT_FDCWD, m.path("q2.log"), unix.RENAME_NOREPLACE)
		wantErrno(t, "RENAME_NOREPLACE onto a name", err, syscall.EEXIST)
		err = unix.Renameat2(unix.AT_FDCWD, m.path("q1.log"), unix.AT_FDCWD, m.path("q2.log"), unix.RENAME_EXCHANGE)
		wantErrno(t, "RENAME_EXCHANGE", err, syscall.EINVAL)
		err = unix.Renameat2(unix.AT_FDCWD, m.path("q1.log"), unix.AT_FDCWD, m.path("q3.log"), unix.RENAME_NOREPLACE)
		must(t, err)
	})
}

func TestRenameOfFinishedNames(t *testing.T) {
	m := mount(t, daemonConfig{})
	p := m.finish("sub/done.csv", "a\n")
	wantErrno(t, "rename of a finished file", os.Rename(p, m.path("files/other")), syscall.EPERM)
	must(t, os.WriteFile(m.path("files/fresh"), []byte("b"), 0o644))
	wantErrno(t, "rename onto a finished file", os.Rename(m.path("files/fresh"), p), syscall.EEXIST)
	wantErrno(t, "rename across sinks", os.Rename(m.path("files/fresh"), m.path("fresh.log")), syscall.EXDEV)
	wantErrno(t, "rename of a directory that holds it", os.Rename(m.path("files/sub"), m.path("files/sub2")), syscall.EPERM)
	wantErrno(t, "rmdir of a directory that holds it", os.Remove(m.path("files/sub")), syscall.ENOTEMPTY)
}

func TestUnlinkOfUnfinishedNames(t *testing.T) {
	both(t, func(t *testing.T, m *mounted) {
		f := open(t, m.path("a.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND)
		write(t, f, "kept\n")
		must(t, os.Remove(m.path("a.log")))
		st, err := f.Stat()
		must(t, err)
		if sys, ok := st.Sys().(*syscall.Stat_t); !ok || sys.Nlink != 0 {
			t.Errorf("%+v of an unlinked file, want no link", st.Sys())
		}
		_, err = os.Stat(m.path("a.log"))
		wantErrno(t, "unlinked name", err, syscall.ENOENT)
		write(t, f, "too\n")
		must(t, f.Close())
		g := open(t, m.path("a.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND)
		if got := sizeOf(t, m.path("a.log")); got != 0 {
			t.Errorf("size %d of the new file, want 0", got)
		}
		write(t, g, "again\n")
		must(t, os.WriteFile(m.path("files/x"), []byte("discarded"), 0o644))
		must(t, os.Remove(m.path("files/x")))
		eventually(t, "all records are published", func() bool {
			m.publish()
			return len(m.published()) == len("kept\ntoo\nagain\n")
		})
		if all := m.published(); strings.Contains(all, "discarded") || !strings.Contains(all, "kept\ntoo\n") {
			t.Errorf("published %q", all)
		}
	})
}

func TestUnlinkOfFinishedNames(t *testing.T) {
	m := mount(t, daemonConfig{})
	wantErrno(t, "unlink", os.Remove(m.finish("x", "a")), syscall.EPERM)
	wantErrno(t, "unlink of nothing", syscall.Unlink(m.path("files/y")), syscall.ENOENT)
	wantErrno(t, "unlink of a directory", syscall.Unlink(m.path("files")), syscall.EISDIR)
}

func TestUnlinkOfFinishedNamesWhereAllowed(t *testing.T) {
	m := mount(t, daemonConfig{AllowDelete: true})
	must(t, os.WriteFile(m.path("a.log"), []byte("x\n"), 0o644))
	m.publish()
	var part string
	must(t, filepath.WalkDir(m.mnt, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			part = p
		}
		return err
	}))
	if part == "" {
		t.Fatal("no part is listed")
	}
	must(t, os.Remove(part))
	_, err := os.Stat(part)
	wantErrno(t, "deleted part", err, syscall.ENOENT)
	if n := len(m.finished()); n != 0 {
		t.Errorf("%d objects left", n)
	}
}

func TestReaddirShowsFinishedOnly(t *testing.T) {
	m := mount(t, daemonConfig{})
	must(t, os.MkdirAll(m.path("logs/eu"), 0o755))
	must(t, os.WriteFile(m.path("logs/app.log"), []byte("x\n"), 0o644))
	if got := entries(t, m.path("logs")); !slices.Equal(got, []string{"eu"}) {
		t.Errorf("%v, want the directory only", got)
	}
	wantErrno(t, "rmdir of a directory with a source", os.Remove(m.path("logs")), syscall.ENOTEMPTY)
	m.publish()
	got := entries(t, m.path("logs"))
	if len(got) != 2 || slices.Contains(got, "app.log") {
		t.Errorf("%v, want the bucket and eu", got)
	}
	if slices.Contains(entries(t, m.mnt), ".sinkfs") {
		t.Error(".sinkfs is listed")
	}
	m.finish("a", "1")
	m.finish("b", "22")
	list, err := os.ReadDir(m.path("files"))
	must(t, err)
	for _, e := range list {
		i, err := e.Info()
		must(t, err)
		if st, err := os.Lstat(m.path("files/" + e.Name())); err != nil || !os.SameFile(i, st) || i.Size() != st.Size() {
			t.Errorf("%s: %v", e.Name(), err)
		}
	}
}

func TestReservedNames(t *testing.T) {
	m := mount(t, daemonConfig{})
	wantErrno(t, "mkdir .sinkfs", os.Mkdir(m.path("d/.sinkfs"), 0o755), syscall.ENOENT)
	_, err := os.Create(m.path("_sinkfs"))
	wantErrno(t, "create _sinkfs", err, syscall.EPERM)
	wantErrno(t, "mkdir _sinkfs", os.Mkdir(m.path("_sinkfs"), 0o755), syscall.EPERM)
	wantErrno(t, "rmdir .sinkfs", syscall.Rmdir(m.path(".sinkfs")), syscall.EPERM)
	_, err = os.Create(m.path(".sinkfs/new"))
	wantErrno(t, "create in .sinkfs", err, syscall.EPERM)
	wantErrno(t, "unlink in .sinkfs", os.Remove(m.path(".sinkfs/status")), syscall.EPERM)
	must(t, os.WriteFile(m.path("a"), nil, 0o644))
	wantErrno(t, "rename into .sinkfs", os.Rename(m.path("a"), m.path(".sinkfs/a")), syscall.EPERM)
	must(t, os.MkdirAll(m.target+"/_sinkfs/uid", 0o755))
	if got := entries(t, m.mnt); slices.Contains(got, "_sinkfs") {
		t.Errorf("%v is listed", got)
	}
	_, err = os.Stat(m.path("_sinkfs"))
	wantErrno(t, "stat of _sinkfs", err, syscall.ENOENT)
	_, err = os.Create(m.path("caf\xe9"))
	wantErrno(t, "a name that is not UTF-8", err, syscall.EILSEQ)
	_, err = os.Stat(m.path("caf\xe9"))
	wantErrno(t, "stat of a name that is not UTF-8", err, syscall.EILSEQ)
}

func TestMkdirRmdirChmodChownUtimens(t *testing.T) {
	both(t, func(t *testing.T, m *mounted) {
		must(t, os.Mkdir(m.path("d"), 0o750))
		wantErrno(t, "mkdir again", os.Mkdir(m.path("d"), 0o750), syscall.EEXIST)
		must(t, os.WriteFile(m.path("d/a.log"), []byte("x\n"), 0o640))
		when := time.Unix(1_700_000_000, 0)
		for _, name := range []string{"d", "d/a.log"} {
			p := m.path(name)
			must(t, os.Chmod(p, 0o700))
			must(t, os.Chown(p, 12, 34))
			must(t, os.Chtimes(p, when, when))
			st, err := os.Stat(p)
			must(t, err)
			sys, ok := st.Sys().(*syscall.Stat_t)
			if !ok || st.Mode().Perm() != 0o700 || sys.Uid != 12 || sys.Gid != 34 || !st.ModTime().Equal(when) {
				t.Errorf("%s: %v %d:%d %v", name, st.Mode(), sys.Uid, sys.Gid, st.ModTime())
			}
		}
		must(t, os.Mkdir(m.path("d/e"), 0o755))
		must(t, os.Remove(m.path("d/e")))
		must(t, os.Mkdir(m.path("d/e"), 0o755))
		must(t, os.Rename(m.path("d"), m.path("moved")))
		if got := sizeOf(t, m.path("moved/a.log")); got != 2 {
			t.Errorf("size %d", got)
		}
		p := m.finish("x", "1")
		st, err := os.Stat(p)
		must(t, err)
		wantErrno(t, "chmod of a finished file", os.Chmod(p, 0o600), syscall.EPERM)
		wantErrno(t, "chown of a finished file", os.Chown(p, 1, 1), syscall.EPERM)
		wantErrno(t, "utimens of a finished file", os.Chtimes(p, when, when), syscall.EPERM)
		must(t, os.Chmod(p, st.Mode().Perm()))
		must(t, os.Chtimes(p, time.Time{}, st.ModTime()))
	})
}

func TestLinkSymlinkMknodTmpfile(t *testing.T) {
	m := mount(t, daemonConfig{})
	must(t, os.WriteFile(m.path("a"), nil, 0o644))
	wantErrno(t, "link", os.Link(m.path("a"), m.path("b")), syscall.EPERM)
	wantErrno(t, "symlink", os.Symlink("a", m.path("b")), syscall.EPERM)
	wantErrno(t, "mkfifo", unix.Mkfifo(m.path("b"), 0o644), syscall.EPERM)
	wantErrno(t, "mknod", unix.Mknod(m.path("b"), unix.S_IFREG|0o644, 0), syscall.EPERM)
	_, err := unix.Open(m.mnt, unix.O_TMPFILE|unix.O_RDWR, 0o600)
	wantErrno(t, "O_TMPFILE", err, syscall.EOPNOTSUPP)
}

// as runs a shell command as nobody and returns what it printed.
func as(uid uint32, command string) (string, error) {
	cmd := exec.Command("sh", "-c", command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestReadOfUnfinishedNames(t *testing.T) {
	for _, who := range []lifecycle.ReadUnfinished{lifecycle.ReadNone, lifecycle.ReadOwner, lifecycle.ReadAll} {
		t.Run(string(who), func(t *testing.T) {
			m := mount(t, daemonConfig{ReadUnfinished: who})
			must(t, os.WriteFile(m.path("a.log"), []byte("line\n"), 0o666))
			must(t, os.Chmod(m.path("a.log"), 0o666))
			owner, oerr := os.ReadFile(m.path("a.log"))
			if who == lifecycle.ReadNone {
				wantErrno(t, "read by root", oerr, syscall.EBUSY)
			} else if string(owner) != "line\n" {
				t.Errorf("the owner reads %q, %v", owner, oerr)
			}
			other, err := as(65534, "cat "+m.path("a.log"))
			if who == lifecycle.ReadAll && other != "line\n" || who != lifecycle.ReadAll && !strings.Contains(other, "busy") {
				t.Errorf("others read %q, %v", other, err)
			}
			// O_RDWR counts as writing.
			if out, err := as(65534, "exec 3<>"+m.path("a.log")+"; cat <&3"); who != lifecycle.ReadAll && !strings.Contains(out, "busy") {
				t.Errorf("others read through O_RDWR %q, %v", out, err)
			}
			if out, err := as(65534, "echo more >>"+m.path("a.log")); err != nil {
				t.Errorf("others append: %v %s", err, out)
			}
		})
	}
}

func TestReleasedBytesAreENODATA(t *testing.T) {
	both(t, func(t *testing.T, m *mounted) {
		const mib = 1 << 20
		f := open(t, m.path("big.log"), os.O_CREATE|os.O_RDWR|os.O_APPEND)
		line := strings.Repeat("x", 1023) + "\n"
		write(t, f, strings.Repeat(line, 4*1024))
		m.publish()
		buf := make([]byte, 1024)
		eventually(t, "the first bytes are released", func() bool {
			_, err := f.ReadAt(buf, 0)
			return err != nil
		})
		_, err := f.ReadAt(buf, 0)
		wantErrno(t, "read of released bytes", err, syscall.ENODATA)
		if _, err := f.ReadAt(buf, 4*mib-1024); err != nil || string(buf) != line {
			t.Errorf("the last bytes: %v", err)
		}
		data, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_DATA)
		if err != nil || data == 0 || data > 3*mib {
			t.Errorf("SEEK_DATA %d, %v", data, err)
		}
		if got := sizeOf(t, m.path("big.log")); got != 4*mib {
			t.Errorf("size %d", got)
		}
	})
}

// TestFinishedNameIsTheFinishedFile: the kernel kept the unfinished one.
func TestFinishedNameIsTheFinishedFile(t *testing.T) {
	m := mount(t, daemonConfig{})
	must(t, os.MkdirAll(m.path("files"), 0o755))
	p := m.path("files/x")
	must(t, os.WriteFile(p, []byte("1"), 0o644))
	before, err := os.Stat(p)
	must(t, err)
	eventually(t, "x is finished", func() bool {
		m.publish()
		after, err := os.Stat(p)
		must(t, err)
		_, err = os.OpenFile(p, os.O_WRONLY, 0)
		return !os.SameFile(before, after) && err != nil
	})
	if b, err := os.ReadFile(p); string(b) != "1" {
		t.Errorf("%q, %v", b, err)
	}
}

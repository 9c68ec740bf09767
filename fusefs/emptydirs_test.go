package fusefs_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// bucket publishes a stream in the directory, has the writer take its name and
// a reader take the part: what is left is the empty bucket, whose name it
// returns.
func (m *mounted) bucket(dir string) string {
	m.t.Helper()
	must(m.t, os.WriteFile(m.path(dir+"/l"), []byte("1\n"), 0o644))
	m.publish()
	must(m.t, os.Remove(m.path(dir+"/l")))
	parts, err := filepath.Glob(filepath.Join(m.target, dir, "2*/part*"))
	must(m.t, err)
	if len(parts) != 1 {
		m.t.Fatalf("parts %v in %s, want one", parts, dir)
	}
	must(m.t, os.Remove(parts[0]))
	return filepath.Base(filepath.Dir(parts[0]))
}

// wantGone is for a directory that is nowhere any more.
func (m *mounted) wantGone(name string) {
	m.t.Helper()
	for _, p := range []string{m.path(name), filepath.Join(m.target, name)} {
		_, err := os.Lstat(p)
		wantErrno(m.t, "stat of "+p, err, syscall.ENOENT)
	}
	if got, err := filepath.Glob(m.path(name)); err != nil || len(got) > 0 {
		m.t.Errorf("%v is listed, %v", got, err)
	}
}

// wantListed compares what a directory of the mount shows.
func (m *mounted) wantListed(dir string, want ...string) {
	m.t.Helper()
	got, err := os.ReadDir(m.path(dir))
	must(m.t, err)
	if len(got) != len(want) {
		m.t.Errorf("%v in %q, want %q", got, dir, want)
		return
	}
	for i, e := range got {
		if e.Name() != want[i] {
			m.t.Errorf("%v in %q, want %q", got, dir, want)
		}
	}
}

// A reader took the finished parts: what is left can be removed.
func TestRmdirOfWhatReadersEmptied(t *testing.T) {
	m := mount(t, daemonConfig{})
	must(t, os.Mkdir(m.path("d"), 0o755))
	must(t, os.Chmod(m.path("d"), 0o777|os.ModeSticky))
	b := m.bucket("d")
	m.wantListed("d", b)
	for range 2 { // a failure leaves things as they were
		wantErrno(t, "rmdir of a directory with one in it", syscall.Rmdir(m.path("d")), syscall.ENOTEMPTY)
		st, err := os.Stat(m.path("d"))
		must(t, err)
		if st.Mode() != os.ModeDir|os.ModeSticky|0o777 {
			t.Errorf("mode %v, want 1777", st.Mode())
		}
	}
	must(t, syscall.Rmdir(m.path("d/"+b)))
	m.wantGone("d/" + b)
	m.wantListed("d")
	must(t, syscall.Rmdir(m.path("d")))
	m.wantGone("d")
	must(t, os.Mkdir(m.path("d"), 0o700))
	if b = m.bucket("d"); b == "" {
		t.Error("no bucket in a directory that was made anew")
	}
}

// What is removed in a mount that allows it leaves directories that go too.
func TestRmdirOfWhatWasDeleted(t *testing.T) {
	m := mount(t, daemonConfig{AllowDelete: true})
	must(t, os.MkdirAll(m.path("q/r"), 0o755))
	must(t, os.WriteFile(m.path("q/r/f"), []byte("1\n"), 0o644))
	m.publish()
	buckets := entries(t, m.path("q/r"))
	if len(buckets) != 1 {
		t.Fatalf("%q in q/r, want the bucket", buckets)
	}
	b := "q/r/" + buckets[0]
	for _, part := range entries(t, m.path(b)) {
		must(t, os.Remove(m.path(b+"/"+part)))
	}
	must(t, os.Remove(m.path("q/r/f")))
	must(t, syscall.Rmdir(m.path(b)))
	m.wantGone(b)
	wantErrno(t, "rmdir again", syscall.Rmdir(m.path(b)), syscall.ENOENT)
	must(t, os.RemoveAll(m.path("q")))
	m.wantGone("q")
}

// What readers do not see is in the way all the same, and so is the store's
// own: nothing of somebody else's goes.
func TestRmdirKeepsWhatIsHidden(t *testing.T) {
	m := mount(t, daemonConfig{})
	target := func(name string) string { return filepath.Join(m.target, name) }
	must(t, os.MkdirAll(target("a/.sinkfs"), 0o755))
	must(t, os.MkdirAll(target("b/caf\xe9"), 0o755))
	must(t, os.Mkdir(target("_sinkfs"), 0o755))
	outside := t.TempDir()
	must(t, os.Symlink(outside, target("link")))
	for _, name := range []string{"a", "b"} {
		m.wantListed(name)
		wantErrno(t, "rmdir "+name, syscall.Rmdir(m.path(name)), syscall.ENOTEMPTY)
	}
	wantErrno(t, "rmdir of a link", syscall.Rmdir(m.path("link")), syscall.ENOTDIR)
	if err := syscall.Rmdir(m.path("_sinkfs")); err == nil {
		t.Error("rmdir _sinkfs succeeded")
	}
	for _, p := range []string{target("a/.sinkfs"), target("b/caf\xe9"), target("_sinkfs"), target("link"), outside} {
		_, err := os.Lstat(p)
		must(t, err)
	}
}

// A directory that only the spool has goes whatever the target does.
func TestRmdirWhileTheTargetIsAway(t *testing.T) {
	m := mount(t, daemonConfig{})
	must(t, os.Mkdir(m.path("d"), 0o755))
	must(t, os.Rename(m.target, m.target+".away"))
	must(t, syscall.Rmdir(m.path("d")))
	must(t, os.Rename(m.target+".away", m.target))
	m.wantGone("d")
}

// A directory in which nothing is finished any more moves, and the empty ones
// of the target do not stay behind under its old name.
func TestRenameOfWhatReadersEmptied(t *testing.T) {
	m := mount(t, daemonConfig{})
	must(t, os.Mkdir(m.path("d"), 0o750))
	b := m.bucket("d")
	must(t, os.WriteFile(m.path("d/new"), []byte("2\n"), 0o644))
	inside, err := os.Open(m.path("d/" + b)) // the kernel knows the bucket, and moves it
	must(t, err)
	defer inside.Close()
	must(t, os.Rename(m.path("d"), m.path("e")))
	m.wantGone("d")
	m.wantListed("e")
	st, err := os.Stat(m.path("e"))
	must(t, err)
	if st.Mode().Perm() != 0o750 {
		t.Errorf("mode %v, want 0750", st.Mode())
	}
	_, err = os.Create(m.path("e/" + b + "/x"))
	wantErrno(t, "create in a directory that is gone", err, syscall.ENOENT)
	m.wantGone("d")
	m.wantGone("e/" + b)
	if got := sizeOf(t, m.path("e/new")); got != 2 {
		t.Errorf("size %d, want 2", got)
	}
}

// A rename that cannot be leaves the target as it was.
func TestRenameThatFailsKeepsEmptyDirectories(t *testing.T) {
	m := mount(t, daemonConfig{})
	must(t, os.MkdirAll(m.path("full/x"), 0o755))
	must(t, os.Mkdir(m.path("d"), 0o755))
	b := m.bucket("d")
	wantErrno(t, "rename onto a directory with one in it", unix.Rename(m.path("d"), m.path("full")), syscall.ENOTEMPTY)
	m.wantListed("d", b)
	must(t, os.WriteFile(filepath.Join(m.target, "d", b, ".hidden"), nil, 0o644))
	wantErrno(t, "rename of a directory with a finished file", os.Rename(m.path("d"), m.path("e")), syscall.EPERM)
	m.wantListed("d", b)
}

// A directory that only the store has moves too, when nothing is in it.
func TestRenameOfAnEmptyStoreDirectory(t *testing.T) {
	m := mount(t, daemonConfig{})
	must(t, os.MkdirAll(filepath.Join(m.target, "a/b/c"), 0o755))
	must(t, os.Rename(m.path("a/b"), m.path("a/x")))
	m.wantGone("a/b")
	m.wantListed("a", "x")
	must(t, os.WriteFile(filepath.Join(m.target, "a/f"), nil, 0o644))
	wantErrno(t, "rename of a store directory with a file", os.Rename(m.path("a"), m.path("z")), syscall.EPERM)
	m.wantListed("a", "f", "x")
}

// A directory that comes back while somebody is still in the one that was
// removed is another one.
func TestStoreDirectoryThatComesBack(t *testing.T) {
	for _, rmdir := range []bool{true, false} {
		m := mount(t, daemonConfig{})
		b := filepath.Join(m.target, "a/b")
		must(t, os.MkdirAll(b, 0o755))
		if !rmdir { // with a spool directory
			must(t, os.Chmod(m.path("a/b"), 0o700))
		}
		inside, err := os.Open(m.path("a/b"))
		must(t, err)
		defer inside.Close()
		must(t, syscall.Rmdir(m.path("a/b")))
		must(t, os.Mkdir(b, 0o755))
		pause(1200e6) // longer than the absence is believed
		must(t, os.WriteFile(m.path("a/b/x.tmp"), []byte("x"), 0o644))
		err = unix.Mkdirat(int(inside.Fd()), "sub", 0o755)
		wantErrno(t, "mkdir in the old one", err, syscall.ESTALE)
	}
}

// Who stands in a directory that was removed keeps nobody out of the one made
// anew under its name, by the next worker either.
func TestDirectoryMadeAnewAfterATakeOver(t *testing.T) {
	for name, handOver := range map[string]bool{"same worker": false, "next worker": true} {
		t.Run(name, func(t *testing.T) {
			m := mount(t, daemonConfig{})
			must(t, os.Mkdir(m.path("d"), 0o755))
			b := m.bucket("d")
			inside, err := os.Open(m.path("d/" + b))
			must(t, err)
			defer inside.Close()
			must(t, syscall.Rmdir(m.path("d/"+b)))
			if handOver {
				m.replace()
			}
			must(t, os.Mkdir(filepath.Join(m.target, "d", b), 0o755)) // of somebody else
			eventually(t, "the directory is there again", func() bool {
				_, err := os.Lstat(m.path("d/" + b))
				return err == nil
			})
			must(t, os.WriteFile(m.path("d/"+b+"/x"), []byte("1\n"), 0o644))
		})
	}
}

// Who stands in a directory that a rename replaced keeps nobody out of a later
// one of its name.
func TestDirectoryMadeAnewAfterARename(t *testing.T) {
	m := mount(t, daemonConfig{})
	must(t, os.Mkdir(filepath.Join(m.target, "e"), 0o755))
	inside, err := os.Open(m.path("e"))
	must(t, err)
	defer inside.Close()
	must(t, os.Mkdir(m.path("d"), 0o755))
	must(t, syscall.Rename(m.path("d"), m.path("e")))
	must(t, syscall.Rmdir(m.path("e")))
	must(t, os.Mkdir(filepath.Join(m.target, "e"), 0o755)) // of somebody else
	eventually(t, "the directory is there again", func() bool {
		_, err := os.Lstat(m.path("e"))
		return err == nil
	})
	must(t, os.WriteFile(m.path("e/x"), []byte("1\n"), 0o644))
}

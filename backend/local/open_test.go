package local_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/local"
)

// mount mounts over dir until the test ends.
func mount(t *testing.T, dir string, args ...string) {
	t.Helper()
	run(t, append(append([]string{"mount"}, args...), dir)...)
	t.Cleanup(func() {
		if exec.Command("mountpoint", "-q", dir).Run() == nil {
			run(t, "umount", dir)
		}
	})
}

func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Errorf("%v: %v\n%s", args, err, out)
	}
}

func TestOpenCreatesOnlyTheLastComponent(t *testing.T) {
	dir := t.TempDir()
	open(t, filepath.Join(dir, "new"))
	if st, err := os.Stat(filepath.Join(dir, "new")); err != nil || st.Mode() != os.ModeDir|0o755 {
		t.Errorf("made %v, %v, want a directory of mode 0755", st, err)
	}
	_, err := local.Open(filepath.Join(dir, "missing", "new"), nil)
	wantKind(t, "Open below a missing directory", err, backend.ErrNotExist)
	if err != nil && !strings.Contains(err.Error(), "mount its disk") {
		t.Errorf("%v does not say what to do", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = local.Open(filepath.Join(dir, "file"), nil)
	wantKind(t, "Open of a file", err, backend.ErrUnsupported)
}

// TestOpenExistingMakesNothing in place of a disk that is not mounted.
func TestOpenExistingMakesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "target")
	_, err := local.OpenExisting(dir, nil)
	wantKind(t, "OpenExisting of what is missing", err, backend.ErrNotExist)
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory was made: %v", err)
	}
	first := open(t, dir).Properties().Identity
	s, err := local.OpenExisting(dir, nil)
	if err != nil || s.Properties().Identity != first {
		t.Errorf("OpenExisting = %v, %v, want the same store", s, err)
	}
}

func TestOpenRefusesWhatCannotPublish(t *testing.T) {
	_, err := local.Open("/proc", nil)
	wantKind(t, "Open without O_TMPFILE", err, backend.ErrUnsupported)
	dir := t.TempDir()
	mount(t, dir, "-t", "ramfs", "ramfs")
	_, err = local.Open(dir, nil)
	wantKind(t, "Open without user xattrs", err, backend.ErrUnsupported)
}

func TestOpenReadOnly(t *testing.T) {
	dir := t.TempDir()
	mount(t, dir, "-t", "tmpfs", "tmpfs")
	put(t, open(t, dir), "d/a", "body")
	run(t, "mount", "-o", "remount,ro", dir)
	s := open(t, dir)
	wantKind(t, "Check of a read-only target", s.Check(t.Context()), backend.ErrPermission)
	_, err := s.Put(t.Context(), object("d/b", nil))
	wantKind(t, "Put into a read-only target", err, backend.ErrPermission)
	if info, err := s.Stat(t.Context(), "d/a"); err != nil || info.Size != 4 {
		t.Errorf("Stat in a read-only target = %+v, %v", info, err)
	}
}

func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	a := open(t, filepath.Join(dir, "a")).Properties().Identity
	b := open(t, filepath.Join(dir, "b")).Properties().Identity
	if a == b {
		t.Errorf("two directories are both %q", a)
	}
	if err := os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "c")); err != nil {
		t.Fatal(err)
	}
	if c := open(t, filepath.Join(dir, "c")).Properties().Identity; c != a {
		t.Errorf("a renamed directory is %q, was %q", c, a)
	}
}

func TestIdentityOfWhatTakesNone(t *testing.T) {
	dir := t.TempDir()
	mount(t, dir, "-t", "tmpfs", "-o", "ro", "tmpfs")
	first := open(t, dir).Properties().Identity
	if second := open(t, dir).Properties().Identity; first != "path:"+dir || second != first {
		t.Errorf("identity %q, then %q", first, second)
	}
}

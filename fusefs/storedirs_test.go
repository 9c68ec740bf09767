package fusefs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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

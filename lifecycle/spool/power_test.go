package spool_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/internal/testfs"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// lookup finds a path; nil when it is not there.
func lookup(tree *spool.Tree, path string) *spool.Node {
	n := tree.Root()
	for name := range strings.SplitSeq(path, "/") {
		if n == nil {
			return nil
		}
		n = tree.Lookup(n, name)
	}
	return n
}

// TestPowerCut: what Sync, SyncAll and Rename promise is there after a power
// cut, and the tree always opens.
func TestPowerCut(t *testing.T) {
	for _, k := range []testfs.Kind{testfs.Ext4, testfs.Ext4k1, testfs.XFS, testfs.Btrfs} {
		t.Run(string(k), func(t *testing.T) {
			p := testfs.NewPowerCut(t, k, 64)
			tree := open(t, filepath.Join(p.Dir(), "spool"))
			cut := func(name string, fn func(t *testing.T, tree *spool.Tree)) {
				t.Helper()
				t.Run(name, func(t *testing.T) { fn(t, open(t, filepath.Join(p.Cut(t), "spool"))) })
			}
			want := func(t *testing.T, n *spool.Node, k spool.Kind, base int64, bytes string) {
				t.Helper()
				if n == nil {
					t.Fatalf("the file is gone")
				}
				if got := content(t, n); n.Kind() != k || n.Base() != base || got != bytes {
					t.Errorf("%q after the cut: %s, base %d, %q", n.Path(), n.Kind(), n.Base(), got)
				}
			}

			d := mkdirAll(t, tree, "a/b/c")
			f := create(t, tree, d, "f", spool.File)
			add(t, f, "synced")
			must(t, f.Sync())
			cut("new file in new directories", func(t *testing.T, tree *spool.Tree) {
				t.Helper()
				want(t, lookup(tree, "a/b/c/f"), spool.File, 0, "synced")
			})

			must(t, f.SetBase(6))
			must(t, f.SetKind(spool.Stream))
			add(t, f, " more")
			must(t, f.Sync())
			cut("base, kind and bytes", func(t *testing.T, tree *spool.Tree) {
				t.Helper()
				want(t, lookup(tree, "a/b/c/f"), spool.Stream, 6, "synced more")
			})

			must(t, f.SetBase(3))
			must(t, f.Sync())
			cut("base alone", func(t *testing.T, tree *spool.Tree) {
				t.Helper()
				want(t, lookup(tree, "a/b/c/f"), spool.Stream, 3, "synced more")
			})
			must(t, f.SetBase(6))

			add(t, f, " before")
			to := mkdirAll(t, tree, "x")
			must(t, tree.Rename(f, to, "g"))
			cut("bytes from before a rename across directories", func(t *testing.T, tree *spool.Tree) {
				t.Helper()
				n := lookup(tree, "x/g")
				if n == nil {
					n = lookup(tree, "a/b/c/f")
				}
				want(t, n, spool.Stream, 6, "synced more before")
			})

			add(t, f, " dir")
			must(t, tree.Rename(to, tree.Root(), "y"))
			cut("bytes from before a rename of the directory", func(t *testing.T, tree *spool.Tree) {
				t.Helper()
				n := lookup(tree, "y/g")
				for _, old := range []string{"x/g", "a/b/c/f"} {
					if n == nil {
						n = lookup(tree, old)
					}
				}
				want(t, n, spool.Stream, 6, "synced more before dir")
			})

			must(t, f.Sync())
			cut("a moved name", func(t *testing.T, tree *spool.Tree) {
				t.Helper()
				want(t, lookup(tree, "y/g"), spool.Stream, 6, "synced more before dir")
			})

			must(t, tree.Unlink(f))
			must(t, f.Sync())
			cut("an unlinked file", func(t *testing.T, tree *spool.Tree) {
				t.Helper()
				n := tree.Node(f.ID().Ino)
				want(t, n, spool.Stream, 6, "synced more before dir")
				if !n.Unlinked() || n.Path() != "y/g" {
					t.Errorf("unlinked %v, path %q", n.Unlinked(), n.Path())
				}
			})

			for i := range 100 {
				add(t, create(t, tree, mkdirAll(t, tree, fmt.Sprintf("many/%d", i%7)), fmt.Sprint(i), spool.Stream), "x")
			}
			must(t, tree.SyncAll())
			all := lines(t, tree)
			add(t, create(t, tree, tree.Root(), "unsynced", spool.Stream), "x")
			cut("everything", func(t *testing.T, tree *spool.Tree) {
				t.Helper()
				got := lines(t, tree)
				for ino, want := range all {
					if got[ino] != want {
						t.Errorf("got %q, want %q", got[ino], want)
					}
				}
			})
		})
	}
}

// TestFailedSync: the kernel tells of lost bytes once and then calls the file
// clean. A source whose bytes are lost must not be taken for durable after
// that.
func TestFailedSync(t *testing.T) {
	for _, first := range []string{"file", "all"} {
		t.Run(first, func(t *testing.T) {
			// A disk that says 64 MiB and has room for 24, of which the first
			// 16, where the metadata are, are its own. As thinly provisioned
			// ones do, it loses what it has no room for.
			disk := testfs.New(t, testfs.Tmpfs, 24)
			img := filepath.Join(disk, "img")
			must(t, exec.CommandContext(t.Context(), "mkfs.ext4", "-q", "-E", "packed_meta_blocks=1", img, "64M").Run())
			must(t, exec.CommandContext(t.Context(), "fallocate", "-l", "16M", img).Run())
			mnt := t.TempDir()
			testfs.Loop(t, testfs.Ext4, img, mnt)
			tree := open(t, filepath.Join(mnt, "spool"))
			good := create(t, tree, tree.Root(), "good", spool.Stream)
			must(t, tree.SyncAll())
			bad := create(t, tree, tree.Root(), "bad", spool.Stream)
			add(t, bad, strings.Repeat("x", 30<<20))
			if first == "file" {
				wantErr(t, bad.Sync(), unix.ENOSPC)
			}
			err := tree.SyncAll()
			wantErr(t, err, unix.ENOSPC)
			if err != nil && !strings.Contains(err.Error(), `"bad"`) {
				t.Errorf("error %v does not name the file", err)
			}

			out, err := exec.CommandContext(t.Context(), "mount", "-o", "remount,size=200m", filepath.Dir(disk)).CombinedOutput()
			if err != nil {
				t.Fatalf("remount: %v: %s", err, out)
			}
			wantErr(t, bad.Sync(), unix.ENOSPC)
			wantErr(t, tree.SyncAll(), unix.ENOSPC)
			add(t, good, "y")
			must(t, good.Sync())
			must(t, tree.Remove(bad))
			must(t, tree.SyncAll())
		})
	}
}

// TestManyBelowARename: a directory with more files than are worth syncing one
// by one.
func TestManyBelowARename(t *testing.T) {
	p := testfs.NewPowerCut(t, testfs.Ext4, 64)
	tree := open(t, filepath.Join(p.Dir(), "spool"))
	d := mkdirAll(t, tree, "d")
	var files []*spool.Node
	for i := range 40 {
		files = append(files, create(t, tree, mkdirAll(t, tree, fmt.Sprintf("d/%d", i%3)), fmt.Sprint(i), spool.Stream))
	}
	must(t, tree.SyncAll())
	for _, f := range files {
		add(t, f, "x")
	}
	must(t, tree.Rename(d, tree.Root(), "e"))
	after := open(t, filepath.Join(p.Cut(t), "spool"))
	for _, f := range files {
		n := after.Node(f.ID().Ino)
		if n == nil {
			t.Fatalf("%q is gone", f.Path())
		}
		if size, err := n.Size(); err != nil || size != 1 {
			t.Errorf("%q: size %d, %v", n.Path(), size, err)
		}
	}
	if _, err := os.Stat(p.Dir()); err != nil {
		t.Error(err)
	}
}

package spool_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/sinkfs/sinkfs/internal/testfs"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// entry is what the model knows of a file.
type entry struct {
	kind       spool.Kind
	base, done int64
	bytes      string
	path       string // the last one, of a file without a name
}

// model is a spool as a map: names to entries, nil for directories.
type model struct {
	names map[string]*entry
	lost  map[uint64]*entry // unlinked, by inode
}

func (m *model) hasBelow(dir string) bool {
	for p := range m.names {
		if strings.HasPrefix(p, dir+"/") {
			return true
		}
	}
	return false
}

// machine runs the same operations on a spool and on its model.
type machine struct {
	dir  string
	tree *spool.Tree
	m    model
}

func (s *machine) find(t *rapid.T, p string) *spool.Node {
	n := s.tree.Root()
	if p == "" {
		return n
	}
	for name := range strings.SplitSeq(p, "/") {
		if n = s.tree.Lookup(n, name); n == nil {
			t.Fatalf("%q is not in the tree", p)
		}
	}
	return n
}

func (s *machine) pick(t *rapid.T, label string, dirs, files bool) (string, *spool.Node) {
	var list []string
	for p, e := range s.m.names {
		if (e == nil && dirs) || (e != nil && files) {
			list = append(list, p)
		}
	}
	if dirs {
		list = append(list, "")
	}
	if len(list) == 0 {
		t.Skip("nothing there")
	}
	slices.Sort(list)
	p := rapid.SampledFrom(list).Draw(t, label)
	return p, s.find(t, p)
}

func name() *rapid.Generator[string] { return rapid.SampledFrom([]string{"a", "b", "c.gz", "ü\n"}) }

// expect compares an operation's error with what the model allows.
func expect(t *rapid.T, err, want error) bool {
	if !errors.Is(err, want) || (want == nil) != (err == nil) {
		t.Fatalf("got error %v, want %v", err, want)
	}
	return err == nil
}

func (s *machine) Create(t *rapid.T) {
	d, dir := s.pick(t, "dir", true, false)
	p := path.Join(d, name().Draw(t, "name"))
	e := &entry{kind: rapid.SampledFrom([]spool.Kind{spool.Stream, spool.File, spool.Scratch}).Draw(t, "kind")}
	_, err := s.tree.Create(dir, path.Base(p), e.kind, 0o600, 1, 1)
	if _, taken := s.m.names[p]; taken {
		expect(t, err, unix.EEXIST)
	} else if expect(t, err, nil) {
		s.m.names[p] = e
	}
}

func (s *machine) Mkdir(t *rapid.T) {
	d, dir := s.pick(t, "dir", true, false)
	p := path.Join(d, name().Draw(t, "name"))
	_, err := s.tree.Mkdir(dir, path.Base(p), 0o700, 1, 1)
	if _, taken := s.m.names[p]; taken {
		expect(t, err, unix.EEXIST)
	} else if expect(t, err, nil) {
		s.m.names[p] = nil
	}
}

func (s *machine) Rename(t *rapid.T) {
	from, n := s.pick(t, "from", true, true)
	d, dir := s.pick(t, "to", true, false)
	to := path.Join(d, name().Draw(t, "name"))
	err := s.tree.Rename(n, dir, path.Base(to))
	_, taken := s.m.names[to]
	switch {
	case from == "":
		expect(t, err, unix.EBUSY)
	case d == from || strings.HasPrefix(d, from+"/"):
		expect(t, err, unix.EINVAL)
	case taken && to != from:
		expect(t, err, unix.EEXIST)
	default:
		expect(t, err, nil)
		moved := map[string]*entry{}
		for p, e := range s.m.names {
			if p == from || strings.HasPrefix(p, from+"/") {
				p = to + p[len(from):]
			}
			moved[p] = e
		}
		s.m.names = moved
	}
}

func (s *machine) Unlink(t *rapid.T) {
	p, n := s.pick(t, "file", false, true)
	expect(t, s.tree.Unlink(n), nil)
	e := s.m.names[p]
	e.path = p
	s.m.lost[n.ID().Ino] = e
	delete(s.m.names, p)
}

func (s *machine) Remove(t *rapid.T) {
	p, n := s.pick(t, "file", false, true)
	expect(t, s.tree.Remove(n), nil)
	delete(s.m.names, p)
}

func (s *machine) RemoveUnlinked(t *rapid.T) {
	n, ino := s.pickLost(t)
	expect(t, s.tree.Remove(n), nil)
	delete(s.m.lost, ino)
}

func (s *machine) pickLost(t *rapid.T) (*spool.Node, uint64) {
	if len(s.m.lost) == 0 {
		t.Skip("nothing there")
	}
	ino := rapid.SampledFrom(slices.Sorted(maps.Keys(s.m.lost))).Draw(t, "ino")
	return s.tree.Node(ino), ino
}

func (s *machine) Rmdir(t *rapid.T) {
	p, n := s.pick(t, "dir", true, false)
	err := s.tree.Rmdir(n)
	switch {
	case p == "":
		expect(t, err, unix.EBUSY)
	case s.m.hasBelow(p):
		expect(t, err, unix.ENOTEMPTY)
	default:
		expect(t, err, nil)
		delete(s.m.names, p)
	}
}

func (s *machine) Change(t *rapid.T) {
	p, n := s.pick(t, "file", false, true)
	s.change(t, n, s.m.names[p])
}

func (s *machine) ChangeUnlinked(t *rapid.T) {
	n, ino := s.pickLost(t)
	s.change(t, n, s.m.lost[ino])
}

func (s *machine) change(t *rapid.T, n *spool.Node, e *entry) {
	v := rapid.Int64Range(0, 1<<62).Draw(t, "value")
	switch rapid.IntRange(0, 3).Draw(t, "what") {
	case 0:
		expect(t, n.SetBase(v), nil)
		e.base = v
	case 1:
		expect(t, n.SetDone(v), nil)
		e.done = v
	case 2:
		e.kind = spool.Kind(1 + v%3)
		expect(t, n.SetKind(e.kind), nil)
	case 3:
		f, err := n.Open(os.O_WRONLY | os.O_APPEND)
		expect(t, err, nil)
		_, err = f.WriteString("line\n")
		expect(t, errors.Join(err, f.Close()), nil)
		e.bytes += "line\n"
	}
}

func (s *machine) Sync(t *rapid.T) {
	_, n := s.pick(t, "node", true, true)
	expect(t, n.Sync(), nil)
}

func (s *machine) Restart(t *rapid.T) {
	expect(t, s.tree.Close(), nil)
	s.tree = s.open(t)
}

func (s *machine) open(t *rapid.T) *spool.Tree {
	tree, err := spool.Open(s.dir, discard())
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return tree
}

// Check compares all that can be asked.
func (s *machine) Check(t *rapid.T) {
	want := map[string]string{"": "dir"}
	for p, e := range s.m.names {
		if e == nil {
			want[p] = "dir"
		} else {
			want[p] = e.String()
		}
	}
	for ino, e := range s.m.lost {
		want[fmt.Sprintf("unlinked %d", ino)] = e.path + " " + e.String()
	}
	got := map[string]string{}
	for _, n := range s.tree.All() {
		if s.tree.Node(n.ID().Ino) != n {
			t.Fatalf("inode %d does not lead to %q", n.ID().Ino, n.Path())
		}
		key, val := n.Path(), "dir"
		if n.Kind() != spool.Dir {
			val = entryOf(t, n).String()
		}
		if n.Unlinked() {
			key, val = fmt.Sprintf("unlinked %d", n.ID().Ino), key+" "+val
		} else if s.find(t, key) != n || (n.Dir() != nil && !slices.Contains(s.tree.Children(n.Dir()), n)) {
			t.Fatalf("%q does not lead to its node", key)
		}
		got[key] = val
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("tree differs from model (-want +got):\n%s", diff)
	}
}

func (e *entry) String() string {
	return fmt.Sprintf("%s base=%d done=%d %q", e.kind, e.base, e.done, e.bytes)
}

func entryOf(t *rapid.T, n *spool.Node) *entry {
	f, err := n.Open(os.O_RDONLY)
	if err != nil {
		t.Fatalf("open %q: %v", n.Path(), err)
	}
	buf := make([]byte, 4096)
	size, err := f.Read(buf)
	if cerr := f.Close(); cerr != nil {
		t.Fatal(cerr)
	}
	if st, serr := n.Stat(); serr != nil || st.Size != int64(size) {
		t.Fatalf("stat %q: %v, %v; read %d, %v", n.Path(), st.Size, serr, size, err)
	}
	return &entry{kind: n.Kind(), base: n.Base(), done: n.Done(), bytes: string(buf[:size])}
}

// TestModel: the spool is a map of names, over any operations and restarts.
func TestModel(t *testing.T) {
	for _, k := range []testfs.Kind{testfs.Tmpfs, testfs.Ext4k1, testfs.XFS, testfs.Btrfs} {
		t.Run(string(k), func(t *testing.T) {
			mnt := testfs.New(t, k, 64)
			runs := 0
			rapid.Check(t, func(t *rapid.T) {
				runs++
				dir := fmt.Sprintf("%s/spool%d", mnt, runs)
				s := &machine{dir: dir, m: model{names: map[string]*entry{}, lost: map[uint64]*entry{}}}
				s.tree = s.open(t)
				defer func() {
					if err := errors.Join(s.tree.Close(), os.RemoveAll(dir)); err != nil {
						t.Error(err)
					}
				}()
				t.Repeat(rapid.StateMachineActions(s))
			})
		})
	}
}

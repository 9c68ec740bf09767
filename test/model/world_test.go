package model_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// world is what one sequence has made, and should have.
type world struct {
	rt      *rapid.T
	crew    *crew
	mnt     string
	roots   [2]*node // of this sequence in the stream sink and in the file sink
	nodes   []*node  // all files
	handles []*handle
	parts   map[string]map[string]string // parts of streams, by directory and name
	texts   int
}

func newWorld(rt *rapid.T, c *crew) *world {
	w := &world{rt: rt, crew: c, mnt: c.lab.Mount, parts: map[string]map[string]string{}}
	name := "q" + strconv.FormatInt(c.sequences.Add(1), 10)
	for i, p := range []string{name, "files/" + name} {
		w.roots[i] = &node{kind: directory, name: p, children: map[string]*node{}, spool: true}
		w.create(w.roots[i], "d", directory).spool = true
		w.must("mkdir", os.MkdirAll(filepath.Join(w.mnt, p, "d"), 0o755))
	}
	return w
}

func (w *world) must(what string, err error) {
	if err != nil {
		w.rt.Fatalf("%s: %v", what, err)
	}
}

// find resolves a path as the kernel does: what holds the name, and what has
// it, nil for nothing.
func (w *world) find(p spot) (parent, n *node, errno syscall.Errno) {
	parent = w.roots[p.root]
	for i, name := range p.names {
		n = parent.children[name]
		if i == len(p.names)-1 {
			return parent, n, 0
		}
		switch {
		case n == nil:
			return nil, nil, syscall.ENOENT
		case n.kind != directory:
			return nil, nil, syscall.ENOTDIR
		}
		parent = n
	}
	return nil, parent, 0
}

// existing is a path that must be there.
func (w *world) existing(p spot) (*node, syscall.Errno) {
	_, n, errno := w.find(p)
	if errno == 0 && n == nil {
		errno = syscall.ENOENT
	}
	return n, errno
}

func (w *world) real(p spot) string {
	return filepath.Join(w.mnt, w.roots[p.root].name, filepath.Join(p.names...))
}

// create makes a node; of a directory too.
func (w *world) create(parent *node, name string, k kind) *node {
	n := &node{kind: k, id: len(w.nodes), parent: parent, name: name, mode: 0o644, handles: map[*handle]bool{}}
	if k == directory {
		n.children = map[string]*node{}
	} else {
		w.nodes = append(w.nodes, n)
	}
	parent.children[name] = n
	return n
}

// unname is what unlink leaves.
func (w *world) unname(n *node) {
	n.last = n.parent.path()
	delete(n.parent.children, n.name)
	n.parent = nil
}

// holdsFinished says whether anything below a directory is finished.
func (w *world) holdsFinished(d *node) bool {
	if d.kind != directory {
		return d.finished
	}
	if len(w.parts[d.path()]) > 0 {
		return true
	}
	for _, n := range d.children {
		if w.holdsFinished(n) {
			return true
		}
	}
	return false
}

// closeAll closes what is left, whatever happened.
func (w *world) closeAll() {
	for _, h := range w.handles {
		for _, fd := range h.fds {
			_ = syscall.Close(fd)
		}
	}
}

// end closes everything, publishes, and takes the unfinished names away, so
// that the next sequences do not pay for this one.
func (w *world) end() {
	for len(w.handles) > 0 {
		w.closeOne(w.handles[0])
	}
	w.checkpoint()
	for _, n := range w.nodes {
		if n.parent != nil && !n.finished {
			w.must("unlink", syscall.Unlink(filepath.Join(w.mnt, n.path())))
		}
	}
}

// checkpoint publishes, and compares what is in the target with what should
// be.
func (w *world) checkpoint() {
	w.rt.Logf("checkpoint")
	if err := w.crew.checkpoint(); err != nil {
		w.rt.Fatalf("checkpoint: %v\n%s", err, w.crew.lab.Log())
	}
	var fresh []*node
	expected := map[string][][]string{} // by directory, by source
	for _, n := range w.nodes {
		switch n.kind {
		case stream:
			w.publish(n, expected)
		case file:
			if !n.finished && n.parent != nil && n.writers() == 0 {
				n.finished = true
				fresh = append(fresh, n)
				w.crew.answered("published file")
			}
		case directory, scratch:
		}
	}
	got := w.target()
	for _, n := range w.nodes {
		if !n.finished {
			continue
		}
		text, ok := got[n.path()]
		if !ok || text != string(n.data) {
			w.rt.Fatalf("%s is published as %q (%v), want %q", n.path(), text, ok, n.data)
		}
		delete(got, n.path())
	}
	w.compareParts(got, expected)
	w.look(fresh)
}

// look compares what the mount shows after a checkpoint: what is finished now,
// and all listings.
func (w *world) look(fresh []*node) {
	for _, n := range fresh {
		var st unix.Stat_t
		p := filepath.Join(w.mnt, n.path())
		w.want(0, again(func() error { return unix.Lstat(p, &st) }), "stat of %s", n.path())
		w.wantStat(n, st)
		w.want(syscall.EPERM, again(func() error { return syscall.Unlink(p) }), "unlink %s, finished", n.path())
		w.want(syscall.EPERM, again(func() error { return syscall.Rename(p, p+"z") }), "rename %s, finished", n.path())
		w.want(syscall.EPERM, again(func() error { _, err := unix.Open(p, unix.O_RDWR, 0); return err }), "open %s, finished", n.path())
	}
	for _, root := range w.roots {
		w.lookInto(root)
	}
}

func (w *world) lookInto(d *node) {
	p := filepath.Join(w.mnt, d.path())
	w.list(d, p)
	if w.holdsFinished(d) {
		w.want(syscall.ENOTEMPTY, again(func() error { return syscall.Rmdir(p) }), "rmdir %s, which holds finished files", d.path())
		w.want(syscall.EPERM, again(func() error { return syscall.Rename(p, p+"z") }), "rename %s, which holds finished files", d.path())
	}
	for _, n := range d.children {
		if n.kind == directory {
			w.lookInto(n)
		}
	}
}

// publish has the model publish a stream.
func (w *world) publish(n *node, expected map[string][][]string) {
	if n.writers() == 0 {
		n.take(len(n.data))
	}
	n.published = n.begun
	byDir := map[string][]string{}
	for _, r := range n.whole {
		byDir[r.dir] = append(byDir[r.dir], r.text)
	}
	n.whole = nil
	for dir, records := range byDir {
		expected[dir] = append(expected[dir], records)
	}
}

// target are the files of this sequence in the target, by path.
func (w *world) target() map[string]string {
	found := map[string]string{}
	for _, root := range w.roots {
		err := filepath.WalkDir(filepath.Join(w.crew.lab.Target, root.name), func(p string, d os.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil
			}
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(p)
			rel, rerr := filepath.Rel(w.crew.lab.Target, p)
			if err == nil {
				err = rerr
			}
			found[rel] = string(text)
			return err
		})
		w.must("target", err)
	}
	return found
}

// compareParts compares the new parts of streams with the records that should
// be in them: each once, those of a source in their order, and a torn one only
// at the end of a part.
func (w *world) compareParts(got map[string]string, expected map[string][][]string) {
	news := map[string][]string{}
	for p, text := range got {
		dir, name := filepath.Split(p)
		dir = strings.TrimSuffix(dir, "/")
		before, known := w.parts[dir][name]
		switch {
		case !known:
			news[dir] = append(news[dir], name)
		case before != text:
			w.rt.Fatalf("%s was %q and is %q", p, before, text)
		}
	}
	for dir, names := range news {
		slices.SortFunc(names, func(a, b string) int { return w.number(a) - w.number(b) })
		w.implied(dir)
		if w.parts[dir] == nil {
			w.parts[dir] = map[string]string{}
		}
		var records []string
		for _, name := range names {
			w.parts[dir][name] = got[dir+"/"+name]
			w.crew.answered("published part")
			for line := range strings.Lines(got[dir+"/"+name]) {
				records = append(records, line)
			}
		}
		var all []string
		for _, source := range expected[dir] {
			if !isSubsequence(source, records) {
				w.rt.Fatalf("%s: published %q, which lacks %q in this order", dir, records, source)
			}
			all = append(all, source...)
		}
		slices.Sort(all)
		slices.Sort(records)
		if d := cmp.Diff(all, records); d != "" {
			w.rt.Fatalf("%s: published other than written (-want +got):\n%s", dir, d)
		}
		delete(expected, dir)
	}
	if len(expected) > 0 {
		w.rt.Fatalf("not published: %q", expected)
	}
}

// number is n of part-<uid>-<n>.
func (w *world) number(name string) int {
	i := strings.LastIndexByte(name, '-')
	n, err := strconv.Atoi(name[i+1:])
	if err != nil || !strings.HasPrefix(name, "part-") {
		w.rt.Fatalf("%s is published and no part", name)
	}
	return n
}

// implied makes the directories that are there because parts are.
func (w *world) implied(dir string) {
	d := w.roots[0]
	rest := strings.TrimPrefix(strings.TrimPrefix(dir, d.name), "/")
	for name := range strings.SplitSeq(rest, "/") {
		if name == "" {
			return
		}
		next := d.children[name]
		if next == nil {
			next = w.create(d, name, directory)
		}
		d = next
	}
}

func isSubsequence(part, all []string) bool {
	for _, s := range all {
		if len(part) > 0 && part[0] == s {
			part = part[1:]
		}
	}
	return len(part) == 0
}

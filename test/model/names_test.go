package model_test

import (
	"errors"
	"maps"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func (w *world) ftruncate() {
	h, fd := w.handleThat((*handle).writes)
	if h == nil {
		return
	}
	size := w.offset(h)
	want := syscall.EINVAL
	if h.writes() {
		want = h.node.truncate(size)
	}
	w.want(want, again(func() error { return unix.Ftruncate(fd, int64(size)) }), "ftruncate %d %d", fd, size)
}

func (w *world) truncate() {
	p := aFile(w)
	n, want := w.existing(p)
	size := 0
	if want == 0 {
		size = rapid.SampledFrom([]int{0, n.size(), n.size() / 2, n.size() + 5}).Draw(w.rt, "size")
		want = n.truncate(size)
	}
	w.want(want, again(func() error { return unix.Truncate(w.real(p), int64(size)) }), "truncate %v %d", p, size)
}

func (w *world) rename() {
	from, to := anything(w), anything(w)
	var flags uint
	if rapid.IntRange(0, 3).Draw(w.rt, "noreplace") == 0 {
		flags = unix.RENAME_NOREPLACE
	}
	if !w.renames(from, to) {
		return
	}
	want := w.renamed(from, to, flags != 0)
	got := again(func() error { return unix.Renameat2(unix.AT_FDCWD, w.real(from), unix.AT_FDCWD, w.real(to), flags) })
	w.want(want, got, "rename %v %v %d", from, to, flags)
	if _, n, _ := w.find(to); want == 0 && n != nil && n.kind == stream && n.was == scratch {
		n.was = stream
		w.settled(to)
	}
}

// renames says whether the model knows what comes of it: not of names of
// another type, nor when scratch that is still open becomes a stream.
func (w *world) renames(from, to spot) bool {
	n, errno := w.existing(from)
	if errno != 0 {
		return true
	}
	_, old, errno := w.find(to)
	if isDir := slices.Contains([]string{"d", "e"}, to.names[len(to.names)-1]); errno == 0 && old == nil && isDir != (n.kind == directory) {
		return false
	}
	return n.kind != scratch || len(n.handles) == 0
}

// renamed is rename in the model: first what the kernel itself decides.
func (w *world) renamed(from, to spot, noReplace bool) syscall.Errno {
	fd, n, errno := w.find(from)
	if errno != 0 {
		return errno
	}
	td, old, errno := w.find(to)
	switch {
	case errno != 0:
		return errno
	case n == nil:
		return syscall.ENOENT
	case old != nil && noReplace:
		return syscall.EEXIST
	case td.within(n):
		return syscall.EINVAL
	case old != nil && fd.within(old):
		return syscall.ENOTEMPTY
	case n == old:
		return 0
	case old != nil && old.kind == directory && n.kind != directory:
		return syscall.EISDIR
	case old != nil && old.kind != directory && n.kind == directory:
		return syscall.ENOTDIR
	}
	if errno := w.refusedRename(from, to, n, old); errno != 0 {
		return errno
	}
	if old != nil && old.kind != directory {
		w.unname(old)
	}
	delete(fd.children, n.name)
	name := to.names[len(to.names)-1]
	n.parent, n.name = td, name
	td.children[name] = n
	if n.kind == scratch {
		n.kind, n.was = kindOf(td.path()+"/", name), scratch
		n.added()
	}
	return 0
}

// refusedRename is what the program decides.
func (w *world) refusedRename(from, to spot, n, old *node) syscall.Errno {
	switch {
	case n.kind != directory && n.finished:
		return syscall.EPERM
	case n.kind == directory && !n.spool:
		return syscall.EPERM
	case from.root != to.root:
		return syscall.EXDEV
	case n.kind != directory && old != nil && old.finished:
		return syscall.EEXIST
	case n.kind == directory && (w.holdsFinished(n) || old != nil && w.holdsFinished(old)):
		return syscall.EPERM
	case n.kind == directory && old != nil && len(old.children) > 0:
		return syscall.ENOTEMPTY
	}
	return 0
}

// settled waits until scratch with a new name is a stream: no descriptor of
// before may be left, and the last one is closed some time after close.
func (w *world) settled(p spot) {
	buf := make([]byte, 32)
	for deadline := time.Now().Add(20 * time.Second); ; {
		n, err := unix.Getxattr(w.real(p), "user.sinkfs.state", buf)
		w.must("getxattr", err)
		if string(buf[:n]) != "scratch" {
			return
		}
		if time.Now().After(deadline) {
			w.rt.Fatalf("%v stays scratch", p)
		}
	}
}

func (w *world) unlink() {
	p := anything(w)
	n, want := w.existing(p)
	switch {
	case want != 0:
	case n.kind == directory:
		want = syscall.EISDIR
	case n.finished:
		want = syscall.EPERM
	default:
		w.unname(n)
	}
	w.want(want, again(func() error { return syscall.Unlink(w.real(p)) }), "unlink %v", p)
}

func (w *world) mkdir() {
	p := aDir(w)
	parent, n, want := w.find(p)
	switch {
	case want != 0:
	case n != nil:
		want = syscall.EEXIST
	default:
		w.create(parent, p.names[len(p.names)-1], directory).spool = true
	}
	w.want(want, again(func() error { return syscall.Mkdir(w.real(p), 0o755) }), "mkdir %v", p)
}

func (w *world) rmdir() {
	p := anything(w)
	parent, n, want := w.find(p)
	switch {
	case want != 0:
	case n == nil:
		want = syscall.ENOENT
	case n.kind != directory:
		want = syscall.ENOTDIR
	case len(n.children) > 0 || w.holdsFinished(n):
		want = syscall.ENOTEMPTY
	default:
		delete(parent.children, n.name)
	}
	w.want(want, again(func() error { return syscall.Rmdir(w.real(p)) }), "rmdir %v", p)
}

func (w *world) chmod() {
	p, mode := anything(w), rapid.SampledFrom([]uint32{0o644, 0o600, 0o755}).Draw(w.rt, "mode")
	n, want := w.existing(p)
	switch {
	case want != 0:
	case n.finished && n.mode != mode:
		want = syscall.EPERM
	default:
		n.mode = mode
		n.spool = n.spool || n.kind == directory
	}
	w.want(want, again(func() error { return syscall.Chmod(w.real(p), mode) }), "chmod %v %o", p, mode)
}

func (w *world) utimens() {
	p, mtime := aFile(w), rapid.SampledFrom([]int64{1_600_000_000, 1_700_000_000}).Draw(w.rt, "mtime")
	n, want := w.existing(p)
	switch {
	case want != 0:
	case n.finished && n.mtime != mtime:
		want = syscall.EPERM
	default:
		n.mtime = mtime
	}
	times := []unix.Timespec{{Sec: mtime}, {Sec: mtime}}
	w.want(want, again(func() error { return unix.UtimesNanoAt(unix.AT_FDCWD, w.real(p), times, 0) }), "utimens %v %d", p, mtime)
}

func (w *world) stat() {
	p := anything(w)
	n, want := w.existing(p)
	var st unix.Stat_t
	w.want(want, again(func() error { return unix.Lstat(w.real(p), &st) }), "stat %v", p)
	if want == 0 {
		w.wantStat(n, st)
	}
}

func (w *world) fstat() {
	h, fd := w.aHandle()
	if h == nil {
		return
	}
	var st unix.Stat_t
	w.want(0, again(func() error { return unix.Fstat(fd, &st) }), "fstat %d", fd)
	w.wantStat(h.node, st)
}

func (w *world) wantStat(n *node, st unix.Stat_t) {
	if isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR; isDir != (n.kind == directory) {
		w.rt.Fatalf("stat: %+v", st)
	}
	if n.kind == directory {
		return
	}
	if st.Size != int64(n.size()) || st.Mode&0o7777 != n.mode || n.mtime != 0 && st.Mtim.Sec != n.mtime {
		w.rt.Fatalf("stat: size %d mode %o mtime %d, want %d %o %d", st.Size, st.Mode&0o7777, st.Mtim.Sec, n.size(), n.mode, n.mtime)
	}
}

func (w *world) readdir() {
	p := aDir(w)
	if rapid.Bool().Draw(w.rt, "root") {
		p.names = nil
	}
	n := w.roots[p.root]
	var want syscall.Errno
	if len(p.names) > 0 {
		n, want = w.existing(p)
	}
	if want == 0 {
		w.list(n, w.real(p))
		return
	}
	_, err := os.ReadDir(w.real(p))
	var got syscall.Errno
	errors.As(err, &got)
	w.want(want, got, "readdir %v", p)
}

// list compares what a directory shows.
func (w *world) list(n *node, dir string) {
	w.crew.answered("readdir success")
	list, err := os.ReadDir(dir)
	w.must("readdir", err)
	names := slices.Collect(maps.Keys(w.parts[n.path()]))
	for _, c := range n.children {
		if c.kind == directory || c.finished {
			names = append(names, c.name)
		}
	}
	slices.Sort(names)
	if !slices.EqualFunc(list, names, func(e os.DirEntry, name string) bool { return e.Name() == name }) {
		w.rt.Fatalf("readdir %v: %v, want %v", n.path(), list, names)
	}
}

func (w *world) access() {
	p, mode := anything(w), rapid.SampledFrom([]uint32{unix.F_OK, unix.R_OK, unix.W_OK}).Draw(w.rt, "mode")
	_, want := w.existing(p)
	w.want(want, again(func() error { return unix.Access(w.real(p), mode) }), "access %v %d", p, mode)
}

func (w *world) state() {
	p := anything(w)
	n, want := w.existing(p)
	if want == 0 && n.kind == directory {
		want = syscall.ENODATA
	}
	buf := make([]byte, 32)
	for attr, text := range w.xattrs(n) {
		var k int
		got := again(func() (err error) { k, err = unix.Getxattr(w.real(p), "user.sinkfs."+attr, buf); return err })
		w.want(want, got, "getxattr %v %s", p, attr)
		if got == 0 && string(buf[:k]) != text {
			w.rt.Fatalf("%s of %v: %q, want %q", attr, p, buf[:k], text)
		}
	}
}

func (w *world) xattrs(n *node) map[string]string {
	all := map[string]string{"state": "in_progress"}
	switch {
	case n == nil || n.kind == directory:
		return all
	case n.finished:
		all["state"], all["published"] = "finished", strconv.Itoa(len(n.data))
	case n.kind == scratch:
		all["state"] = "scratch"
	case n.kind == stream:
		if n.published > 0 && n.published == len(n.data) {
			all["state"] = "finished"
		}
		all["published"] = strconv.Itoa(n.published)
	}
	all["bytes"] = strconv.Itoa(len(n.data))
	return all
}

// readFile reads a whole file by its name.
func (w *world) readFile() {
	p := aFile(w)
	n, want := w.existing(p)
	text, err := os.ReadFile(w.real(p))
	var got syscall.Errno
	errors.As(err, &got)
	var seen []byte
	if want == 0 {
		seen = n.data[n.base:]
	}
	w.wantBytes(seen, text, want, got, "read "+p.String())
}

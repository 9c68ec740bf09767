package model_test

import (
	"bytes"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// calls are what a step may be, each as often as it is here.
func calls() []func(*world) {
	weights := []struct {
		n    int
		call func(*world)
	}{
		{9, (*world).open},
		{10, (*world).write},
		{4, (*world).pwrite},
		{2, (*world).lseek},
		{2, (*world).read},
		{2, (*world).pread},
		{3, (*world).ftruncate},
		{2, (*world).truncate},
		{1, (*world).fsync},
		{1, (*world).fallocate},
		{1, (*world).fchmod},
		{1, (*world).reserved},
		{4, (*world).close},
		{1, (*world).dup},
		{4, (*world).rename},
		{2, (*world).unlink},
		{2, (*world).mkdir},
		{1, (*world).rmdir},
		{1, (*world).chmod},
		{1, (*world).utimens},
		{3, (*world).stat},
		{2, (*world).fstat},
		{2, (*world).readdir},
		{1, (*world).access},
		{1, (*world).state},
		{1, (*world).refused},
		{2, (*world).readFile},
		{3, (*world).meet},
	}
	var all []func(*world) // small numbers are drawn more often, so each is among them
	for round := range 10 {
		for _, x := range weights {
			if round < x.n {
				all = append(all, x.call)
			}
		}
	}
	return all
}

var steps = calls()

func (w *world) call(rt *rapid.T) {
	w.rt = rt
	w.crew.calls.Add(1)
	steps[rapid.IntRange(0, len(steps)-1).Draw(rt, "call")](w)
}

// again repeats a call that a signal interrupted.
func again(call func() error) syscall.Errno {
	for {
		err := call()
		errno, ok := err.(syscall.Errno) //nolint:errorlint // as it came from the kernel
		switch {
		case err == nil:
			return 0
		case !ok:
			return syscall.EIO
		case errno != syscall.EINTR:
			return errno
		}
	}
}

// want compares the answer of a call.
func (w *world) want(want, got syscall.Errno, format string, args ...any) {
	call, _, _ := strings.Cut(format, " ")
	if call == "%s" {
		call = fmt.Sprint(args[0])
	}
	w.crew.answered(call + " " + name(got))
	w.rt.Logf("%s: %v", fmt.Sprintf(format, args...), name(got))
	if got != want {
		w.rt.Fatalf("%s: %v, want %v", fmt.Sprintf(format, args...), name(got), name(want))
	}
}

func name(e syscall.Errno) string {
	if e == 0 {
		return "success"
	}
	return unix.ErrnoName(e)
}

func (w *world) open() {
	p := aFile(w)
	if rapid.IntRange(0, 30).Draw(w.rt, "dir") == 0 {
		if p = aDir(w); !w.there(p) {
			return
		}
	}
	flags := rapid.SampledFrom([]int{
		unix.O_RDONLY, unix.O_WRONLY, unix.O_WRONLY, unix.O_RDWR, unix.O_RDWR, unix.O_WRONLY | unix.O_APPEND,
		unix.O_WRONLY | unix.O_APPEND, unix.O_WRONLY | unix.O_APPEND, unix.O_RDWR | unix.O_APPEND,
	}).Draw(w.rt, "mode")
	flags |= rapid.SampledFrom([]int{
		0, unix.O_CREAT, unix.O_CREAT, unix.O_CREAT, unix.O_CREAT | unix.O_EXCL, unix.O_CREAT | unix.O_TRUNC, unix.O_TRUNC,
	}).Draw(w.rt, "flags")
	if rapid.IntRange(0, 15).Draw(w.rt, "sync") == 15 {
		flags |= unix.O_DSYNC
	}
	h := &handle{flags: flags, known: true}
	want := w.opened(p, h)
	var fd int
	got := again(func() (err error) { fd, err = unix.Open(w.real(p), flags|unix.O_CLOEXEC, 0o644); return err })
	w.want(want, got, "open %v %#x", p, flags)
	if got != 0 {
		return
	}
	if h.node.kind == directory {
		w.must("close", unix.Close(fd))
		return
	}
	h.fds = []int{fd}
	w.handles = append(w.handles, h)
	h.node.handles[h] = true
}

func (w *world) there(p spot) bool {
	_, errno := w.existing(p)
	return errno == 0
}

// opened is open in the model.
func (w *world) opened(p spot, h *handle) syscall.Errno {
	parent, n, errno := w.find(p)
	creates, truncates := h.flags&unix.O_CREAT != 0, h.flags&unix.O_TRUNC != 0
	switch {
	case errno != 0:
		return errno
	case n == nil && !creates:
		return syscall.ENOENT
	case n == nil:
		name := p.names[len(p.names)-1]
		n = w.create(parent, name, kindOf(parent.path()+"/", name))
		truncates = false
	case creates && h.flags&unix.O_EXCL != 0:
		return syscall.EEXIST
	case n.kind == directory && (creates || truncates || h.writes()):
		return syscall.EISDIR
	case n.kind != directory && n.finished && h.writes():
		return syscall.EPERM
	}
	h.node = n
	h.atZero = n.kind == stream && n.size() == 0
	if truncates {
		if errno := n.truncate(0); errno != 0 {
			return errno
		}
		h.atZero = n.kind == stream
	}
	return 0
}

// aHandle is a handle and one of its descriptors; nil when none is open.
func (w *world) aHandle() (*handle, int) { return w.handleThat(func(*handle) bool { return true }) }

// handleThat is mostly a handle that can.
func (w *world) handleThat(can func(*handle) bool) (*handle, int) {
	some := w.handles
	if rapid.IntRange(0, 15).Draw(w.rt, "how") > 0 {
		some = nil
		for _, h := range w.handles {
			if can(h) {
				some = append(some, h)
			}
		}
	}
	if len(some) == 0 {
		return nil, -1
	}
	h := some[rapid.IntRange(0, len(some)-1).Draw(w.rt, "handle")]
	return h, h.fds[rapid.IntRange(0, len(h.fds)-1).Draw(w.rt, "descriptor")]
}

// text is what no other write wrote.
func (w *world) text() string {
	w.texts++
	t := fmt.Sprintf("%d.", w.texts)
	if rapid.IntRange(0, 31).Draw(w.rt, "big") == 31 {
		return strings.Repeat(t, rapid.SampledFrom([]int{2_000, 5_000, 30_000}).Draw(w.rt, "times")) + "\n"
	}
	return rapid.SampledFrom([]string{t + "\n", t + "\n" + t + "a\n", t, t + "\n" + t + "b"}).Draw(w.rt, "text")
}

func (w *world) write() {
	h, fd := w.handleThat((*handle).writes)
	if h == nil {
		return
	}
	text := w.text()
	want := h.write(text, nil)
	var n int
	got := again(func() (err error) { n, err = unix.Write(fd, []byte(text)); return err })
	w.want(want, got, "write %d %.60q", fd, text)
	if got == 0 && n != len(text) {
		w.rt.Fatalf("%d bytes written of %d", n, len(text))
	}
}

// offset is one that matters: an end, a beginning, or something within.
func (w *world) offset(h *handle) int {
	n := h.node.size()
	return rapid.SampledFrom([]int{n, n, 0, h.pos, h.own, n / 2, n + 3}).Draw(w.rt, "offset")
}

func (w *world) pwrite() {
	h, fd := w.handleThat((*handle).writes)
	if h == nil {
		return
	}
	text, off := w.text(), w.offset(h)
	want := h.write(text, &off)
	var n int
	got := again(func() (err error) { n, err = unix.Pwrite(fd, []byte(text), int64(off)); return err })
	w.want(want, got, "pwrite %d %.60q at %d", fd, text, off)
	if got == 0 && n != len(text) {
		w.rt.Fatalf("%d bytes written of %d", n, len(text))
	}
}

func (w *world) lseek() {
	h, fd := w.aHandle()
	if h == nil {
		return
	}
	off, whence := w.offset(h), rapid.SampledFrom([]int{unix.SEEK_SET, unix.SEEK_END, unix.SEEK_CUR}).Draw(w.rt, "whence")
	switch {
	case whence == unix.SEEK_END:
		off = 0
		h.pos = h.node.size()
	case whence == unix.SEEK_CUR && !h.known:
		return
	case whence == unix.SEEK_CUR:
		h.pos += off
	default:
		h.pos = off
	}
	h.known = true
	got, err := unix.Seek(fd, int64(off), whence)
	w.rt.Logf("lseek %d %d %d: %d", fd, off, whence, got)
	if err != nil || got != int64(h.pos) {
		w.rt.Fatalf("lseek %d %d: %d, %v, want %d", off, whence, got, err, h.pos)
	}
}

// readAt is read or pread in the model.
func (h *handle) readAt(off, n int) ([]byte, syscall.Errno) {
	if !h.reads() {
		return nil, syscall.EBADF
	}
	seen := h.node.data[h.node.base:]
	return seen[min(off, len(seen)):min(off+n, len(seen))], 0
}

const atMost = 16

func (w *world) read() {
	h, fd := w.handleThat((*handle).reads)
	if h == nil || !h.known {
		return
	}
	text, want := h.readAt(h.pos, atMost)
	h.pos += len(text)
	buf, n := make([]byte, atMost), 0
	got := again(func() (err error) { n, err = unix.Read(fd, buf); return err })
	w.wantBytes(text, buf[:max(n, 0)], want, got, fmt.Sprintf("read %d", fd))
}

func (w *world) pread() {
	h, fd := w.handleThat((*handle).reads)
	if h == nil {
		return
	}
	off := w.offset(h) / 2
	text, want := h.readAt(off, 2*atMost)
	buf, n := make([]byte, 2*atMost), 0
	got := again(func() (err error) { n, err = unix.Pread(fd, buf, int64(off)); return err })
	w.wantBytes(text, buf[:max(n, 0)], want, got, fmt.Sprintf("pread %d at %d", fd, off))
}

func (w *world) wantBytes(want, got []byte, wantErrno, errno syscall.Errno, what string) {
	call, rest, _ := strings.Cut(what, " ")
	w.want(wantErrno, errno, "%s %s", call, rest)
	if errno == 0 && !bytes.Equal(want, got) {
		w.rt.Fatalf("%s: %q, want %q", what, got, want)
	}
}

func (w *world) fsync() {
	h, fd := w.aHandle()
	if h == nil {
		return
	}
	call := rapid.SampledFrom([]func(int) error{unix.Fsync, unix.Fdatasync}).Draw(w.rt, "sync")
	w.want(0, again(func() error { return call(fd) }), "fsync %d", fd)
}

func (w *world) dup() {
	h, fd := w.aHandle()
	if h == nil {
		return
	}
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	w.must("dup", err)
	h.fds = append(h.fds, n)
	w.rt.Logf("dup %d: %d", fd, n)
}

func (w *world) close() {
	if h, _ := w.aHandle(); h != nil {
		w.closeOne(h)
	}
}

// closeOne closes one descriptor of a handle.
func (w *world) closeOne(h *handle) {
	fd := h.fds[len(h.fds)-1]
	h.fds = h.fds[:len(h.fds)-1]
	h.node.flushed = h.node.flushed || h.writes()
	if len(h.fds) == 0 {
		delete(h.node.handles, h)
		for i := range w.handles {
			if w.handles[i] == h {
				w.handles = append(w.handles[:i], w.handles[i+1:]...)
				break
			}
		}
	}
	w.rt.Logf("close %d", fd)
	w.must("close", unix.Close(fd))
}

// meet is a checkpoint. Of a file whose descriptor was just closed a trigger
// awaits the last one, so those that are open still would only take time.
func (w *world) meet() {
	for i := 0; i < len(w.handles); {
		h := w.handles[i]
		if n := h.node; h.writes() && n.flushed && (n.kind != stream || n.begun < len(n.data)) {
			w.closeOne(h)
			i = 0
			continue
		}
		i++
	}
	w.checkpoint()
}

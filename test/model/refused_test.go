package model_test

import (
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// refused are calls that no name allows.
func (w *world) refused() {
	p := anything(w)
	_, n, want := w.find(p)
	switch {
	case want != 0:
	case n != nil:
		want = syscall.EEXIST
	default:
		want = syscall.EPERM
	}
	what := rapid.SampledFrom([]string{"symlink", "mknod", "mkfifo", "link", "setxattr", "exchange"}).Draw(w.rt, "what")
	var got syscall.Errno
	switch what {
	case "symlink":
		got = again(func() error { return unix.Symlink("a", w.real(p)) })
	case "mknod":
		got = again(func() error { return unix.Mknod(w.real(p), unix.S_IFREG|0o644, 0) })
	case "mkfifo":
		got = again(func() error { return unix.Mkfifo(w.real(p), 0o644) })
	case "setxattr":
		if _, want = w.existing(p); want == 0 {
			want = syscall.EOPNOTSUPP
		}
		got = again(func() error { return unix.Setxattr(w.real(p), "user.x", []byte("1"), 0) })
	case "exchange":
		q := anything(w)
		want, got = w.exchanged(q, p), again(func() error {
			return unix.Renameat2(unix.AT_FDCWD, w.real(q), unix.AT_FDCWD, w.real(p), unix.RENAME_EXCHANGE)
		})
	default:
		q := aFile(w)
		if _, errno := w.existing(q); errno != 0 {
			want = errno
		}
		got = again(func() error { return unix.Link(w.real(q), w.real(p)) })
	}
	w.want(want, got, "%s %v", what, p)
}

// exchanged is the answer to RENAME_EXCHANGE, which is not offered.
func (w *world) exchanged(a, b spot) syscall.Errno {
	_, n, errno := w.find(a)
	if errno != 0 {
		return errno
	}
	_, m, errno := w.find(b)
	switch {
	case errno != 0:
		return errno
	case n == nil || m == nil:
		return syscall.ENOENT
	case n == m:
		return 0
	}
	return syscall.EINVAL
}

// reserved are names that nobody can make.
func (w *world) reserved() {
	p := aDir(w)
	n, want := w.existing(p)
	if want == 0 && n.kind != directory {
		want = syscall.ENOTDIR
	}
	name := rapid.SampledFrom([]string{"_sinkfs", "caf\xe9", ""}).Draw(w.rt, "name")
	flags := unix.O_WRONLY | unix.O_CREAT
	switch {
	case want != 0:
	case name == "_sinkfs":
		want = syscall.EPERM
	case name == "":
		want, flags = syscall.EOPNOTSUPP, unix.O_WRONLY|unix.O_TMPFILE
	default:
		want = syscall.EILSEQ
	}
	if name == "" {
		flags = unix.O_WRONLY | unix.O_TMPFILE
	}
	got := again(func() error {
		_, err := unix.Open(filepath.Join(w.real(p), name), flags|unix.O_CLOEXEC, 0o644)
		return err
	})
	w.want(want, got, "reserved %v %q", p, name)
}

func (w *world) fallocate() {
	h, fd := w.aHandle()
	if h == nil {
		return
	}
	mode, off, size := rapid.SampledFrom([]uint32{0, unix.FALLOC_FL_KEEP_SIZE}).Draw(w.rt, "mode"), w.offset(h), 10
	var want syscall.Errno
	switch {
	case !h.writes():
		want = syscall.EBADF
	case h.node.kind == stream && mode == 0:
		want = syscall.EPERM
	case mode == 0:
		want = h.node.truncate(max(h.node.size(), off+size))
	case h.node.kind != stream:
		h.node.mtime = 0
	}
	got := again(func() error { return unix.Fallocate(fd, mode, int64(off), int64(size)) })
	w.want(want, got, "fallocate %d %d %d", fd, mode, off)
}

func (w *world) fchmod() {
	h, fd := w.aHandle()
	if h == nil {
		return
	}
	mode := rapid.SampledFrom([]uint32{0o644, 0o600, 0o755}).Draw(w.rt, "mode")
	want := syscall.EPERM
	if n := h.node; !n.finished || n.mode == mode {
		want, n.mode = 0, mode
	}
	w.want(want, again(func() error { return unix.Fchmod(fd, mode) }), "fchmod %d %o", fd, mode)
}

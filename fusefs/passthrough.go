package fusefs

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// The two write paths, as status names them.
const (
	writePassthrough = "passthrough"
	writeDaemon      = "daemon"
)

// backings are the spool files that the kernel reads and writes itself. An
// inode has one backing id for as long as its spool file lives: the kernel
// refuses another while a handle is open. Ids belong to the connection, so
// they lie in the memory; a stale one would name another file.
type backings struct {
	fs *FS

	mu     sync.Mutex
	byIno  map[uint64]*inodeSlot
	free   []*inodeSlot
	usable bool
	reason string
	warned bool
}

func (b *backings) init(f *FS) {
	b.fs, b.byIno = f, map[uint64]*inodeSlot{}
	b.reason = "not mounted yet"
}

// WritePath is which way the bytes of O_APPEND handles go, and why.
func (f *FS) WritePath() (path, reason string) {
	f.back.mu.Lock()
	defer f.back.mu.Unlock()
	if f.back.usable {
		return writePassthrough, f.back.reason
	}
	return writeDaemon, f.back.reason
}

func (b *backings) decide(usable bool, reason string) {
	b.mu.Lock()
	b.usable, b.reason = usable, reason
	b.mu.Unlock()
	if usable {
		b.fs.mem.header.passthrough.Store(1)
	}
	b.fs.log.Info("write path", slog.Bool("passthrough", usable), slog.String("reason", reason))
}

// probe registers a file without a name: what the kernel answers goes for the
// whole mount.
func (b *backings) probe() {
	conn := b.fs.conn.Load()
	switch {
	case b.fs.cfg.Passthrough == "off":
		b.decide(false, "switched off")
		return
	case !conn.Offers(fuse.CAP_PASSTHROUGH):
		b.decide(false, "the kernel has no FUSE passthrough, Linux 6.9 has")
		return
	}
	fd, err := b.nameless()
	if err != nil {
		b.decide(true, "the kernel offers it, not probed: "+err.Error())
		return
	}
	defer func() { _ = unix.Close(fd) }()
	id, errno := conn.OpenBacking(fd)
	if errno != 0 {
		b.decide(false, registerReason(errno))
		return
	}
	_ = conn.CloseBacking(id)
	b.decide(true, "")
}

// nameless is a file of the spool's file system that no crash leaves behind.
func (b *backings) nameless() (int, error) {
	root, err := b.fs.in.Descriptor(b.fs.root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer func() { _ = root.Close() }()
	return unix.Openat(int(root.Fd()), ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
}

func registerReason(errno syscall.Errno) string {
	switch errno {
	case syscall.EPERM:
		return "registering a spool file needs CAP_SYS_ADMIN in the initial user namespace"
	case syscall.ELOOP:
		return "the spool's file system is stacked too deep, put the spool on a disk or a volume"
	}
	return "the spool's file system refuses: " + errno.Error()
}

// adopt knows the inodes again that an earlier worker had on this connection.
func (b *backings) adopt() {
	b.mu.Lock()
	for i := range b.fs.mem.header.inodes.Load() {
		s := &b.fs.mem.inodes[i]
		if ino := s.ino.Load(); ino != 0 {
			b.byIno[ino] = s
		} else {
			b.free = append(b.free, s)
		}
	}
	b.mu.Unlock()
	switch {
	case b.fs.cfg.Passthrough == "off":
		// Inodes that are open with it stay with it.
		b.decide(false, "switched off")
	case b.fs.mem.header.passthrough.Load() != 0:
		b.decide(true, "")
	default:
		b.decide(false, "not available when the connection was made")
	}
}

// slot is the inode's place in the memory, made if need be. A spool inode
// number that has come back names another file by its generation.
func (b *backings) slot(ino uint64, gen uint32) (*inodeSlot, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.byIno[ino]; s != nil {
		if s.gen == gen {
			return s, nil
		}
		b.drop(s)
	}
	s := b.take()
	if s == nil {
		return nil, fmt.Errorf("%d open files: %w", len(b.byIno), errTooMany)
	}
	s.gen = gen
	s.backing.Store(0)
	s.unique.Store(0)
	s.ino.Store(ino)
	b.byIno[ino] = s
	return s, nil
}

func (b *backings) take() *inodeSlot {
	if n := len(b.free); n > 0 {
		s := b.free[n-1]
		b.free = b.free[:n-1]
		return s
	}
	if i, ok := firstUnused(&b.fs.mem.header.inodes, len(b.fs.mem.inodes)); ok {
		return &b.fs.mem.inodes[i]
	}
	for ino, s := range b.byIno {
		if b.fs.files.byIno[ino] == nil { // the caller holds the table's lock
			b.drop(s)
			return b.take()
		}
	}
	return nil
}

// drop forgets an inode: the memory first, because a noted id that the kernel
// has given to another file would be worse than one that is never closed.
func (b *backings) drop(s *inodeSlot) {
	id := s.backing.Swap(0)
	delete(b.byIno, s.ino.Load())
	s.ino.Store(0)
	b.free = append(b.free, s)
	b.unregister(id)
}

func (b *backings) unregister(id int32) {
	conn := b.fs.conn.Load()
	if id == 0 || conn == nil {
		return
	}
	// EBADF: the connection has ended, and with it all that it held.
	if errno := conn.CloseBacking(id); errno != 0 && errno != syscall.EBADF {
		b.fs.log.Warn("backing file not closed, its space stays taken until the unmount", slog.Any("error", errno))
	}
}

// idle says that no handle of the inode is left. A backing stays for the next
// one.
func (b *backings) idle(ino uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.byIno[ino]; s != nil && s.backing.Load() == 0 {
		b.drop(s)
	}
}

// removing is called before a spool file goes for good: the kernel would hold
// its space.
func (b *backings) removing(ino uint64) {
	if b.fs.files.open(ino) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.byIno[ino]; s != nil {
		b.drop(s)
	}
}

// prune gives back what an earlier worker did not come to.
func (b *backings) prune() {
	b.mu.Lock()
	var inos []uint64
	for ino := range b.byIno {
		inos = append(inos, ino)
	}
	b.mu.Unlock()
	for _, ino := range inos {
		if _, err := b.fs.in.Path(ino); errors.Is(err, syscall.ESTALE) {
			b.removing(ino)
		}
	}
}

// of is the backing id of an open file: registered and noted before OPEN is
// answered with it. ok is false when its handles must do without.
func (b *backings) of(file *openFile) (id int32, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if id := file.slot.backing.Load(); id != 0 {
		return id, true
	}
	if !b.usable {
		return 0, false
	}
	id, err := b.register(file.ino)
	if err != nil {
		if !b.warned {
			b.warned = true
			b.fs.log.Warn("a spool file is written through the daemon, others may be too", slog.Any("error", err))
		}
		return 0, false
	}
	file.slot.backing.Store(id)
	return id, true
}

func (b *backings) register(ino uint64) (int32, error) {
	// The kernel opens it again with the flags of each handle.
	f, err := b.fs.in.Descriptor(ino, syscall.O_RDONLY|syscall.O_CLOEXEC)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	id, errno := b.fs.conn.Load().OpenBacking(int(f.Fd()))
	if errno != 0 {
		return 0, errors.New(registerReason(errno))
	}
	return id, nil
}

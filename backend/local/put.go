package local

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/internal/fault"
)

const copyBuffer = 256 << 10

// Put writes, names and syncs the file.
func (s *Store) Put(ctx context.Context, o backend.Object) (backend.Info, error) {
	st, err := s.stage(ctx, o)
	if err != nil {
		return backend.Info{}, err
	}
	defer st.drop()
	return st.Commit(ctx)
}

// Stage writes and syncs the file without a name. It holds a descriptor until
// Commit or Abort; when the process ends, the kernel frees the bytes.
func (s *Store) Stage(ctx context.Context, o backend.Object) (backend.Staged, error) {
	st, err := s.stage(ctx, o)
	if err != nil {
		return nil, err
	}
	return st, nil
}

func (s *Store) stage(ctx context.Context, o backend.Object) (*staged, error) {
	if err := checkKey(o.Key); err != nil {
		return nil, err
	}
	if err := o.Validate(maxKey); err != nil {
		return nil, err
	}
	f, err := s.nameless(o.Key)
	if err != nil {
		return nil, classify(writing, "create", o.Key, err)
	}
	info, err := fill(ctx, f, o)
	if err != nil {
		_ = f.Close()
		return nil, classify(writing, "write", o.Key, err)
	}
	return &staged{store: s, file: f, info: info}, nil
}

// nameless creates a file that no directory shows, on the file system where
// its name will be.
func (s *Store) nameless(k backend.Key) (*os.File, error) {
	root, err := s.root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	parent, _ := k.Split()
	dir, err := deepest(root, parent)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := openBeneath(dir, ".", unix.O_TMPFILE|unix.O_RDWR, 0o600)
	if err != nil && removed(dir) { // ext4 says EPERM then, which is no permission to wait for
		return nil, fmt.Errorf("its directory was removed meanwhile: %w: %w", backend.ErrTransient, err)
	}
	return f, err
}

func removed(dir *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(dir.Fd()), &st) == nil && st.Nlink == 0
}

// fill writes the body and all that is known of it, and makes both durable.
func fill(ctx context.Context, f *os.File, o backend.Object) (backend.Info, error) {
	sum, err := copyBody(ctx, f, o)
	if err != nil {
		return backend.Info{}, err
	}
	if o.ModTime.IsZero() {
		o.ModTime = time.Now()
	}
	info := backend.Info{
		Key: o.Key, Size: o.Size, Checksum: fmt.Sprintf("crc32c:%08x", sum), Meta: o.Meta,
		Owned: true, Mode: o.Mode & 0o7777, UID: o.UID, GID: o.GID, ModTime: o.ModTime,
	}
	if err := describe(f, info); err != nil {
		return backend.Info{}, err
	}
	return info, f.Sync()
}

func copyBody(ctx context.Context, f *os.File, o backend.Object) (uint32, error) {
	body, err := o.Open()
	if err != nil {
		return 0, &bodyError{err}
	}
	defer body.Close()
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	// Hiding ReadFrom and WriteTo keeps the copy in pieces: the context is
	// looked at and the sum taken between them.
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(f, sum)},
		bodyReader{ctx, io.LimitReader(body, o.Size+1)}, make([]byte, min(copyBuffer, o.Size+1)))
	if err != nil {
		return 0, err
	}
	if n != o.Size {
		return 0, fmt.Errorf("the body does not have the %d bytes that were announced", o.Size)
	}
	return sum.Sum32(), nil
}

// bodyError keeps an errno of the body from being taken for one of the store.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "body: " + e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

type bodyReader struct {
	ctx context.Context //nolint:containedctx // it ends the reads of one call
	r   io.Reader
}

func (b bodyReader) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &bodyError{err}
	}
	return n, err
}

// describe sets attributes in the one order that works: chown takes set-id
// bits away, and a mode without write permission forbids setxattr.
func describe(f *os.File, i backend.Info) error {
	fd := int(f.Fd())
	attr, err := objectInfo{Meta: i.Meta, Checksum: i.Checksum, Mode: i.Mode, UID: i.UID, GID: i.GID}.encode()
	if err != nil {
		return err
	}
	if err := unix.Fsetxattr(fd, objectAttr, attr, 0); err != nil {
		return fmt.Errorf("setxattr: %w", err)
	}
	// Owner-readable whatever the writer said: a mount that is not root must
	// be able to read the attribute back. Stat gives the writer's own mode.
	mode := i.Mode | 0o400
	err = unix.Fchown(fd, int(i.UID), int(i.GID))
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EINVAL):
		mode &= 0o777 // not root, or root of a namespace: never set-id for ourselves
	case err != nil:
		return fmt.Errorf("chown: %w", err)
	}
	if err := unix.Fchmod(fd, mode); err != nil {
		return fmt.Errorf("chmod: %w", err)
	}
	t := unix.Timespec{Sec: i.ModTime.Unix(), Nsec: int64(i.ModTime.Nanosecond())}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, procPath(f), []unix.Timespec{t, t}, 0); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	return nil
}

// staged is a complete, durable file without a name.
type staged struct {
	store *Store
	info  backend.Info

	mu     sync.Mutex
	file   *os.File // nil once finished or given up
	linked bool     // the name is there; its directory may not be durable
	done   bool
}

// Checksum is that of the file.
func (st *staged) Checksum() string { return st.info.Checksum }

// Commit gives the file its name.
func (st *staged) Commit(ctx context.Context) (backend.Info, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.done:
		return st.info, nil
	case st.file == nil:
		return backend.Info{}, fmt.Errorf("commit %q: it was given up: %w", string(st.info.Key), backend.ErrGone)
	case ctx.Err() != nil:
		return backend.Info{}, ctx.Err()
	}
	if err := st.publish(); err != nil {
		err = classify(writing, "commit", st.info.Key, err)
		if errors.Is(err, backend.ErrGone) {
			st.close()
		}
		return backend.Info{}, err
	}
	st.done = true
	st.close()
	return st.info, nil
}

func (st *staged) publish() error {
	if err := fault.Hit(fault.StoreTemp); err != nil {
		return err
	}
	root, err := st.store.root()
	if err != nil {
		return err
	}
	defer root.Close()
	parent, name := st.info.Key.Split()
	dir, err := st.store.makeDir(root, parent)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := st.link(dir, name); err != nil {
		return err
	}
	if err := fault.Hit(fault.StoreLinked); err != nil {
		return err
	}
	return st.store.settle(root, dir, parent)
}

func (st *staged) link(dir *os.File, name string) error {
	if st.linked {
		return nil // an earlier Commit got so far and failed to sync
	}
	if err := st.store.dirs.making(dir); err != nil {
		return err
	}
	err := unix.Linkat(unix.AT_FDCWD, procPath(st.file), int(dir.Fd()), name, unix.AT_SYMLINK_FOLLOW)
	if err != nil {
		return fmt.Errorf("link: %w", err)
	}
	st.linked = true
	return nil
}

// Abort frees the bytes.
func (st *staged) Abort(context.Context) error {
	st.drop()
	return nil
}

func (st *staged) drop() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.close()
}

func (st *staged) close() {
	if st.file != nil {
		_ = st.file.Close() // synced before: nothing left to fail
		st.file = nil
	}
}

// makeDir opens the directory of a key and makes what is missing of it.
func (s *Store) makeDir(root *os.File, key backend.Key) (*os.File, error) {
	dir, err := openDir(root, key)
	if !errors.Is(err, unix.ENOENT) || key == "" {
		return dir, err
	}
	up, name := key.Split()
	parent, err := s.makeDir(root, up)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	if err := s.dirs.making(parent); err != nil {
		return nil, err
	}
	err = unix.Mkdirat(int(parent.Fd()), name, 0o755)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("mkdir %q: %w", string(key), err)
	}
	return openDir(parent, backend.Key(name))
}

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
	if err := o.Meta.Validate(); err != nil {
		return nil, fmt.Errorf("write %q: %w", string(o.Key), err)
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
	return openBeneath(dir, ".", unix.O_TMPFILE|unix.O_RDWR, 0o600)
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
		return 0, fmt.Errorf("open body: %w", err)
	}
	defer body.Close()
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	// Hiding ReadFrom and WriteTo keeps the copy in pieces: the context is
	// looked at and the sum taken between them.
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(f, sum)},
		io.LimitReader(ctxReader{ctx, body}, o.Size+1), make([]byte, min(copyBuffer, o.Size+1)))
	if err != nil {
		return 0, err
	}
	if n != o.Size {
		return 0, fmt.Errorf("the body does not have the %d bytes that were announced", o.Size)
	}
	return sum.Sum32(), nil
}

// describe sets attributes in the one order that works: chown takes set-id
// bits away, and a mode without write permission forbids setxattr.
func describe(f *os.File, i backend.Info) error {
	attr, err := objectInfo{Meta: i.Meta, Checksum: i.Checksum, Mode: i.Mode, UID: i.UID, GID: i.GID}.encode()
	if err != nil {
		return err
	}
	if err := unix.Fsetxattr(int(f.Fd()), objectAttr, attr, 0); err != nil {
		return fmt.Errorf("setxattr: %w", err)
	}
	err = unix.Fchown(int(f.Fd()), int(i.UID), int(i.GID))
	if err != nil && !(errors.Is(err, unix.EPERM) && os.Geteuid() != 0) {
		return fmt.Errorf("chown: %w", err)
	}
	// Owner-readable whatever the writer said: a mount that is not root must
	// be able to read the attribute back. Stat gives the writer's own mode.
	if err := unix.Fchmod(int(f.Fd()), i.Mode|0o400); err != nil {
		return fmt.Errorf("chmod: %w", err)
	}
	t := unix.NsecToTimespec(i.ModTime.UnixNano())
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
	id, err := idOf(dir)
	if err != nil {
		return err
	}
	st.store.dirs.making(id)
	err = unix.Linkat(unix.AT_FDCWD, procPath(st.file), int(dir.Fd()), name, unix.AT_SYMLINK_FOLLOW)
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
	dir, err := openBeneath(root, string(key), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if !errors.Is(err, unix.ENOENT) || key == "" {
		return dir, err
	}
	up, name := key.Split()
	parent, err := s.makeDir(root, up)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	id, err := idOf(parent)
	if err != nil {
		return nil, err
	}
	s.dirs.making(id)
	err = unix.Mkdirat(int(parent.Fd()), name, 0o755)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("mkdir %q: %w", string(key), err)
	}
	made := err == nil
	dir, err = openBeneath(parent, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil || !made {
		return dir, err
	}
	if id, err = idOf(dir); err != nil {
		_ = dir.Close()
		return nil, err
	}
	s.dirs.setKnown(id, false)
	return dir, nil
}

type ctxReader struct {
	ctx context.Context //nolint:containedctx // it ends the reads of one call
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

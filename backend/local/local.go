// Package local keeps finished files in a directory.
//
// A file is written without a name (O_TMPFILE), made durable, and then linked
// under its key: the kernel itself refuses to overwrite, and no instant shows
// a name that is not finished. Each file carries one xattr that says which
// part it is, so a journal can be rebuilt from the directory alone.
package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/backend"
)

const (
	maxKey     = 1023
	stageAbove = 16 << 20
	parallel   = 8
)

// Store is a directory as a target.
type Store struct {
	path string
	id   string // "" when the directory takes no identity from us
	log  *slog.Logger
	dirs dirs
}

var (
	_ backend.Store      = (*Store)(nil)
	_ backend.FileOpener = (*Store)(nil)
	_ backend.DirRemover = (*Store)(nil)
)

// Open returns the store in the directory at path. A missing last component
// is created with mode 0755; a missing parent is ErrNotExist. A directory
// whose file system cannot publish files atomically, or keeps no user xattrs,
// is ErrUnsupported. A full or read-only one opens: Check says so.
//
// The identity is a random id in an xattr of the directory itself: it follows
// the disk wherever it is mounted, which neither a path nor a device number
// does, and every mount of the directory reads the same. A directory that
// refuses it (read-only, not ours) is identified by its path.
func Open(path string, log *slog.Logger) (*Store, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", path, err)
	}
	if err := create(abs); err != nil {
		return nil, err
	}
	return open(abs, log)
}

// OpenExisting is Open for a directory that was used before: when it is
// missing its disk is, most likely, and a new one in its place would be a
// target that nobody reads. That is ErrNotExist.
func OpenExisting(path string, log *slog.Logger) (*Store, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", path, err)
	}
	if _, err := os.Stat(abs); errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("target %s is gone, mount its disk or put the directory back: %w", abs, backend.ErrNotExist)
	}
	if err := existing(abs); err != nil {
		return nil, err
	}
	return open(abs, log)
}

func open(abs string, log *slog.Logger) (*Store, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Store{path: abs, log: log, dirs: dirs{m: map[dirID]*dirState{}}}
	dir, err := s.root()
	if err != nil {
		return nil, fmt.Errorf("open target: %w", classify(reading, "directory", backend.Key(abs), err))
	}
	defer dir.Close()
	if err := probe(dir); err != nil {
		if errors.Is(err, backend.ErrUnsupported) {
			return nil, fmt.Errorf("target %s: %w", abs, err)
		}
		log.Warn("target cannot be written now", slog.String("target", abs), slog.Any("error", err))
	}
	s.id, err = identify(dir)
	switch {
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		log.Warn("target takes no identity and is known by its path", slog.String("target", abs), slog.Any("error", err))
	case err != nil:
		return nil, fmt.Errorf("target identity: %w", classify(writing, "directory", backend.Key(abs), err))
	}
	return s, nil
}

func create(path string) error {
	err := os.Mkdir(path, 0o755)
	switch {
	case err == nil:
		return syncPath(filepath.Dir(path))
	case errors.Is(err, unix.EEXIST):
		return existing(path)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		parent, remedy := filepath.Dir(path), "is missing, create it or mount its disk"
		if info, err := os.Stat(parent); err == nil && info.IsDir() { // as /proc is
			remedy = "takes no directories, name another target"
		} else if err == nil {
			remedy = "is a file, name another target"
		}
		return fmt.Errorf("target %s: its parent directory %s %s: %w", path, parent, remedy, backend.ErrNotExist)
	}
	return classify(writing, "create target", backend.Key(path), err)
}

func existing(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return classify(reading, "target", backend.Key(path), err)
	}
	if !st.IsDir() {
		return fmt.Errorf("target %s is not a directory, name another: %w", path, backend.ErrUnsupported)
	}
	// Whoever made it may have died before this. Not every user may do it.
	_ = syncPath(filepath.Dir(path))
	return nil
}

func syncPath(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return classify(writing, "open", backend.Key(path), err)
	}
	defer dir.Close()
	return classify(writing, "sync", backend.Key(path), dir.Sync())
}

// probe makes a nameless file with an attribute, and lets it go.
func probe(dir *os.File) error {
	f, err := openBeneath(dir, ".", unix.O_TMPFILE|unix.O_RDWR, 0o600)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("its file system cannot make nameless files (O_TMPFILE), use ext4, xfs, btrfs or tmpfs: %w: %w",
			backend.ErrUnsupported, err)
	case err != nil:
		return err
	}
	defer f.Close()
	if _, err := os.Readlink(procPath(f)); err != nil {
		return fmt.Errorf("/proc is not mounted, files cannot be named without it: %w: %w", backend.ErrUnsupported, err)
	}
	err = unix.Fsetxattr(int(f.Fd()), objectAttr, []byte("{}"), 0)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("its file system keeps no user xattrs, use ext4, xfs, btrfs or tmpfs: %w: %w", backend.ErrUnsupported, err)
	}
	return err
}

// Properties describes the directory.
func (s *Store) Properties() backend.Properties {
	identity := "dir:" + s.id
	if s.id == "" {
		identity = backend.PathIdentity + s.path
	}
	return backend.Properties{
		URL:        "file://" + backend.Escape("file", s.path),
		Identity:   identity,
		CreateOnly: true,
		StageAbove: stageAbove,
		MaxKey:     maxKey,
		Parallel:   parallel,
		Local:      true,
	}
}

// Check proves that the directory is there, is the same as at Open, and can
// be written.
func (s *Store) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	dir, err := s.root()
	if err != nil {
		return classify(writing, "check target", backend.Key(s.path), err)
	}
	defer dir.Close()
	return classify(writing, "check target", backend.Key(s.path), probe(dir))
}

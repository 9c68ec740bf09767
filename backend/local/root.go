package local

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/backend"
)

// root opens the target directory for one operation. None is kept open: an
// operator can unmount the disk, and what is then found at the path (the bare
// mountpoint, another disk) does not carry the identity and is refused, so
// that it is never filled in place of the target.
func (s *Store) root() (*os.File, error) {
	dir, err := openPath(s.path) // not os.Open, which makes four calls more to see whether it can wait for a directory
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("target %s is gone, mount its disk or put the directory back: %w: %w", s.path, backend.ErrTransient, err)
	}
	if err != nil {
		return nil, err
	}
	if s.id == "" {
		return dir, nil
	}
	id, err := readIdentity(dir)
	if err == nil && id == s.id {
		return dir, nil
	}
	_ = dir.Close()
	if err != nil && !errors.Is(err, unix.ENODATA) {
		return nil, err
	}
	return nil, fmt.Errorf("target %s is not the directory that it was (identity %q, expected %q), mount its disk or remount sinkfs: %w",
		s.path, id, s.id, backend.ErrTransient)
}

func openPath(path string) (*os.File, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		default:
			return os.NewFile(uintptr(fd), path), nil
		}
	}
}

// openBeneath opens a path in dir without following a single link: neither
// out of the target nor within it.
func openBeneath(dir *os.File, name string, flags int, mode uint32) (*os.File, error) {
	if name == "" {
		name = "."
	}
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Mode:    uint64(mode),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(int(dir.Fd()), name, &how)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue // the kernel asks for another try when a rename raced with the walk
		}
		if err != nil {
			return nil, &os.PathError{Op: "openat2", Path: name, Err: err}
		}
		return os.NewFile(uintptr(fd), name), nil
	}
}

func openDir(dir *os.File, name backend.Key) (*os.File, error) {
	return openBeneath(dir, string(name), unix.O_RDONLY|unix.O_DIRECTORY, 0)
}

// deepest opens the deepest directory on the way to dir that exists. A file
// made there can be linked anywhere below without the directories between
// being visible before the commit.
func deepest(root *os.File, dir backend.Key) (*os.File, error) {
	for {
		f, err := openDir(root, dir)
		if !errors.Is(err, unix.ENOENT) || dir == "" {
			return f, err
		}
		dir, _ = dir.Split()
	}
}

// find opens what stands at k as an O_PATH descriptor, which touches nothing:
// opening a fifo would block or wake its writer, a device may act.
func find(root *os.File, k backend.Key) (*os.File, unix.Stat_t, error) {
	var st unix.Stat_t
	f, err := openBeneath(root, string(k), unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, st, err
	}
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		_ = f.Close()
		return nil, st, err
	}
	return f, st, nil
}

// procPath names an open descriptor for calls that take only paths.
func procPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// checkKey refuses what no directory of Linux can hold.
func checkKey(k backend.Key) error {
	if err := k.Validate(maxKey); err != nil {
		return err
	}
	for element := range strings.SplitSeq(string(k), "/") {
		if len(element) > unix.NAME_MAX {
			return fmt.Errorf("key element %.40q… has %d bytes, a directory takes %d, use shorter names: %w",
				element, len(element), unix.NAME_MAX, backend.ErrKey)
		}
	}
	return nil
}

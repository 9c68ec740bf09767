package local

import (
	"context"
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/backend"
)

// List reads the directory once and looks at each entry as it is asked for.
func (s *Store) List(ctx context.Context, dir backend.Key, after string, fn func(string, backend.Info) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if dir != "" {
		if err := checkKey(dir); err != nil {
			return err
		}
	}
	f, names, err := s.names(dir)
	if err != nil {
		return classify(reading, "list", dir, err)
	}
	defer f.Close()
	slices.Sort(names)
	first, found := slices.BinarySearch(names, after)
	if found {
		first++
	}
	for _, name := range names[first:] {
		if err := ctx.Err(); err != nil {
			return err
		}
		var st unix.Stat_t
		err := unix.Fstatat(int(f.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			continue // it went since the names were read
		}
		if err != nil {
			return classify(reading, "list", dir.Join(name), err)
		}
		if err := fn(name, infoOf(dir.Join(name), &st)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) names(dir backend.Key) (*os.File, []string, error) {
	root, err := s.root()
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	f, err := openDir(root, dir)
	if err != nil {
		return nil, nil, err
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, names, nil
}

// Delete removes a file durably; directories stay, even when empty.
func (s *Store) Delete(ctx context.Context, k backend.Key) error {
	return s.remove(ctx, "delete", k, 0, mustBeFile)
}

// RemoveDir leaves it to the kernel to find the directory empty.
func (s *Store) RemoveDir(ctx context.Context, dir backend.Key) error {
	return s.remove(ctx, "remove directory", dir, unix.AT_REMOVEDIR, mustBeDir)
}

func (s *Store) remove(ctx context.Context, what string, k backend.Key, flags int, check func(*unix.Stat_t) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkKey(k); err != nil {
		return err
	}
	return classify(reading, what, k, s.unlink(k, flags, check))
}

// unlink looks first: a file system that cannot be written says so of what is
// not there, too.
func (s *Store) unlink(k backend.Key, flags int, check func(*unix.Stat_t) error) error {
	root, err := s.root()
	if err != nil {
		return err
	}
	defer root.Close()
	parent, name := k.Split()
	dir, err := openDir(root, parent)
	if err != nil {
		return err
	}
	defer dir.Close()
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if err := check(&st); err != nil {
		return err
	}
	id, err := idOf(dir, name)
	if err != nil {
		return err
	}
	if err := unix.Unlinkat(int(dir.Fd()), name, flags); err != nil {
		return err
	}
	s.dirs.removed(id)
	_, err = s.dirs.sync(dir)
	return err
}

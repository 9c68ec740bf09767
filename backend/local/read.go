package local

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/backend"
)

// Stat never follows a link and never opens what is not a regular file; both
// are ErrNotExist. What it reports of our own files is durable: a caller
// takes it for the proof of a commit whose answer was lost.
func (s *Store) Stat(ctx context.Context, k backend.Key) (backend.Info, error) {
	if err := ctx.Err(); err != nil {
		return backend.Info{}, err
	}
	if k != "" {
		if err := checkKey(k); err != nil {
			return backend.Info{}, err
		}
	}
	info, err := s.stat(k)
	if err == nil && info.Owned {
		err = s.settled(k)
	}
	if err != nil {
		return backend.Info{}, classify(reading, "stat", k, err)
	}
	return info, nil
}

func (s *Store) stat(k backend.Key) (backend.Info, error) {
	f, st, err := s.find(k)
	if err != nil {
		return backend.Info{}, err
	}
	defer f.Close()
	info, ok := infoOf(k, &st)
	if !ok {
		return backend.Info{}, fmt.Errorf("it is neither a file nor a directory: %w", backend.ErrNotExist)
	}
	if info.Dir {
		return info, nil
	}
	attr, owned, err := readObjectInfo(f)
	if err != nil || !owned {
		return info, err
	}
	info.Owned, info.Meta, info.Checksum = true, attr.Meta, attr.Checksum
	info.Mode, info.UID, info.GID = attr.Mode, attr.UID, attr.GID
	return info, nil
}

// settled makes the name at k durable if nobody in this process has.
func (s *Store) settled(k backend.Key) error {
	root, err := s.root()
	if err != nil {
		return err
	}
	defer root.Close()
	parent, _ := k.Split()
	dir, err := openBeneath(root, string(parent), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	id, err := idOf(dir)
	if err != nil || s.dirs.clean(id) {
		return err
	}
	return s.settle(root, dir, parent)
}

// infoOf returns false for links, fifos, sockets and devices.
func infoOf(k backend.Key, st *unix.Stat_t) (backend.Info, bool) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return backend.Info{Key: k, Dir: true}, true
	case unix.S_IFREG:
		return backend.Info{
			Key: k, Size: st.Size, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid,
			ModTime: time.Unix(st.Mtim.Unix()).UTC(),
		}, true
	}
	return backend.Info{}, false
}

// OpenFile opens a finished file for reading, for callers that hand the
// descriptor to the kernel instead of copying bytes.
func (s *Store) OpenFile(ctx context.Context, k backend.Key) (*os.File, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkKey(k); err != nil {
		return nil, err
	}
	f, err := s.openFile(k)
	return f, classify(reading, "open", k, err)
}

func (s *Store) openFile(k backend.Key) (*os.File, error) {
	place, st, err := s.find(k)
	if err != nil {
		return nil, err
	}
	defer place.Close()
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("it is not a file: %w", backend.ErrNotExist)
	}
	return os.Open(procPath(place)) // the very file that was looked at
}

// Open reads a range of a file; one that begins past the end is empty.
func (s *Store) Open(ctx context.Context, k backend.Key, off, n int64) (io.ReadCloser, error) {
	f, err := s.OpenFile(ctx, k)
	if err != nil {
		return nil, err
	}
	if n < 0 {
		n = math.MaxInt64 - off
	}
	return struct {
		io.Reader
		io.Closer
	}{ctxReader{ctx, io.NewSectionReader(f, off, n)}, f}, nil
}

// List reads the directory once and looks at each entry as it is asked for.
func (s *Store) List(ctx context.Context, dir backend.Key, after string, fn func(string, backend.Info) error) error {
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
		if err == unix.ENOENT {
			continue // it went since the names were read
		}
		if err != nil {
			return classify(reading, "list", dir.Join(name), err)
		}
		info, ok := infoOf(dir.Join(name), &st)
		if !ok {
			continue
		}
		if err := fn(name, info); err != nil {
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
	f, err := openBeneath(root, string(dir), unix.O_RDONLY|unix.O_DIRECTORY, 0)
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
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkKey(k); err != nil {
		return err
	}
	dir, name, err := s.openParent(k)
	if err != nil {
		return classify(reading, "delete", k, err)
	}
	defer dir.Close()
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return classify(reading, "delete", k, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("delete %q: it is not a file: %w", string(k), backend.ErrNotExist)
	}
	if err := unix.Unlinkat(int(dir.Fd()), name, 0); err != nil {
		return classify(reading, "delete", k, err)
	}
	return classify(writing, "delete", k, dir.Sync())
}

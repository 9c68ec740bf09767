package local

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/backend"
)

// maxDirs bounds what is remembered of directories. Forgetting one costs an
// fsync more.
const maxDirs = 4096

// dirs knows which directories have names that no fsync has covered yet. A
// process before this one may have been killed between link and fsync, so a
// directory that this process has not synced counts as one of them.
type dirs struct {
	mu sync.Mutex
	m  map[dirID]*dirState
}

// dirID has the time of birth: inode numbers are used again.
type dirID struct {
	major, minor uint32
	ino          uint64
	born         unix.StatxTimestamp
}

// dirState counts the names made in a directory, and how many of them the
// last good fsync covers.
type dirState struct {
	made, durable uint64
	known         bool // this process synced it, and all directories above it
}

// change looks at or changes the state of one directory under the lock.
func (d *dirs) change(dir *os.File, fn func(s *dirState)) error {
	id, err := idOf(dir, "")
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.m[id]
	if s == nil {
		if len(d.m) >= maxDirs {
			d.forget()
		}
		s = &dirState{}
		d.m[id] = s
	}
	fn(s)
	return nil
}

// idOf is the identity of dir, or of the directory name in it.
func idOf(dir *os.File, name string) (dirID, error) {
	var st unix.Statx_t
	err := unix.Statx(int(dir.Fd()), name, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_BTIME, &st)
	return dirID{st.Dev_major, st.Dev_minor, st.Ino, st.Btime}, err
}

// removed forgets a directory that is gone: not every file system has a time of
// birth, and the next one may have its inode number.
func (d *dirs) removed(id dirID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.m, id)
}

func (d *dirs) forget() {
	for id, s := range d.m {
		if s.made == s.durable {
			delete(d.m, id)
		}
	}
}

// making must be called before a name is made in the directory: a name that
// is seen is then never taken for durable too early.
func (d *dirs) making(dir *os.File) error {
	return d.change(dir, func(s *dirState) { s.made++ })
}

// clean tells whether every name in the directory, and its own, is durable.
func (d *dirs) clean(dir *os.File) (clean bool, err error) {
	err = d.change(dir, func(s *dirState) { clean = s.known && s.made == s.durable })
	return clean, err
}

// sync makes the names in the directory durable, and tells whether the way to
// it is. Calls run in parallel: file systems join them better than we could.
func (d *dirs) sync(dir *os.File) (known bool, err error) {
	var state *dirState
	var covers uint64
	if err := d.change(dir, func(s *dirState) { state, covers = s, s.made }); err != nil {
		return false, err
	}
	err = dir.Sync()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		state.known = false // so that the whole way is synced again
		return false, err
	}
	state.durable = max(state.durable, covers)
	return state.known, nil
}

// settle makes every name in the directory durable, and the directory's own
// way down from the target when that is not known to be.
func (s *Store) settle(root, dir *os.File, key backend.Key) error {
	known, err := s.dirs.sync(dir)
	if err != nil || known {
		return err
	}
	for key != "" {
		key, _ = key.Split()
		up, err := openDir(root, key)
		if err != nil {
			return err
		}
		_, err = s.dirs.sync(up)
		_ = up.Close() // only read
		if err != nil {
			return err
		}
	}
	return s.dirs.change(dir, func(s *dirState) { s.known = true })
}

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

// dirSyncs makes names durable. Parallel commits into one directory share its
// fsyncs: whoever arrives while one runs joins the next.
//
// It also knows which directories have names that no fsync has covered yet.
// A process before this one may have been killed between link and fsync, so
// a directory that this process has not synced yet counts as one of them.
type dirSyncs struct {
	mu sync.Mutex
	m  map[dirID]*dirState
}

type dirID struct{ dev, ino uint64 }

// dirState counts the names made in a directory, and how many of them the
// last good fsync covers.
type dirState struct {
	made, durable uint64
	known         bool // this process synced it, and all directories above it
	running, next *round
}

type round struct {
	done   chan struct{}
	covers uint64
	err    error
}

func newDirSyncs() *dirSyncs { return &dirSyncs{m: map[dirID]*dirState{}} }

func idOf(dir *os.File) (dirID, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(dir.Fd()), &st)
	return dirID{st.Dev, st.Ino}, err
}

// making must be called before a name is made in the directory: a name
// that is seen is then never taken for durable too early.
func (d *dirSyncs) making(id dirID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state(id).made++
}

// clean tells whether every name in the directory, and its own, is durable.
func (d *dirSyncs) clean(id dirID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.state(id)
	return s.known && s.made == s.durable
}

// known tells whether the way to the directory is durable.
func (d *dirSyncs) known(id dirID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state(id).known
}

// setKnown notes whether the way to the directory is durable. A directory
// that was just made is not, even if its inode number was known before.
func (d *dirSyncs) setKnown(id dirID, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state(id).known = known
}

// sync returns when an fsync that began after the call has ended.
func (d *dirSyncs) sync(id dirID, fsync func() error) error {
	d.mu.Lock()
	s := d.state(id)
	if r := s.next; r != nil {
		d.mu.Unlock()
		<-r.done
		return r.err
	}
	r := &round{done: make(chan struct{})}
	before := s.running
	s.next = r
	d.mu.Unlock()

	if before != nil {
		<-before.done
	}
	d.mu.Lock()
	s.next, s.running, r.covers = nil, r, s.made
	d.mu.Unlock()

	r.err = fsync()

	d.mu.Lock()
	if s.running == r {
		s.running = nil
	}
	if r.err == nil {
		s.durable = r.covers
	} else {
		s.known = false // so that the whole way is synced again
	}
	d.mu.Unlock()
	close(r.done)
	return r.err
}

func (d *dirSyncs) state(id dirID) *dirState {
	s := d.m[id]
	if s == nil {
		if len(d.m) >= maxDirs {
			d.forget()
		}
		s = &dirState{}
		d.m[id] = s
	}
	return s
}

func (d *dirSyncs) forget() {
	for id, s := range d.m {
		if s.running == nil && s.next == nil && s.made == s.durable {
			delete(d.m, id)
		}
	}
}

// settle makes every name in the directory durable, and the directory's own
// way down from the target when that is not known to be.
func (s *Store) settle(root, dir *os.File, key backend.Key) error {
	id, err := idOf(dir)
	if err != nil {
		return err
	}
	if err := s.dirs.sync(id, dir.Sync); err != nil || s.dirs.known(id) {
		return err
	}
	for key != "" {
		key, _ = key.Split()
		if err := s.syncDir(root, key); err != nil {
			return err
		}
	}
	s.dirs.setKnown(id, true)
	return nil
}

func (s *Store) syncDir(root *os.File, key backend.Key) error {
	dir, err := openBeneath(root, string(key), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	id, err := idOf(dir)
	if err != nil {
		return err
	}
	return s.dirs.sync(id, dir.Sync)
}

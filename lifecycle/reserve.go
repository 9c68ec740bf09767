package lifecycle

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// reserveSize is what the journal may need before publishing has freed space:
// what it asks to be free at a write, and what writers may take meanwhile.
const reserveSize = 48 << 20

// lentSize is what a mount may need for its own small files before it opens the
// state directory.
const lentSize = 1 << 20

// reserve is disk space kept for the journal. The kernel appends to the spool
// until its disk is full, without asking; on one disk the journal then has no
// room for the checkpoint that would free some. The space is given up for one
// write of the journal at a time, and taken back at once.
type reserve struct {
	path string
	log  *slog.Logger

	mu    sync.Mutex
	short bool // it is not whole
}

func newReserve(dir string, log *slog.Logger) *reserve {
	return &reserve{path: filepath.Join(dir, "reserve"), log: log, short: true}
}

// fill takes as much of the reserve as there is.
func (r *reserve) fill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.short {
		return
	}
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, reserveSize), f.Close())
	}
	r.short = err != nil
	if err != nil && !errors.Is(err, unix.ENOSPC) {
		r.log.Warn("no disk space is reserved for the journal", slog.Any("error", err))
	}
}

// giveUp frees the reserve.
func (r *reserve) giveUp() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.short = true
	if err := os.Truncate(r.path, 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("give up the journal's reserve: %w", err)
	}
	return nil
}

// spend does something again, with the reserve, that found the disk full.
func (r *reserve) spend(do func() error) error {
	err := do()
	if !errors.Is(err, unix.ENOSPC) {
		return err
	}
	defer r.fill()
	if gerr := r.giveUp(); gerr != nil {
		return errors.Join(err, gerr)
	}
	return do()
}

// LendReserve makes a little room on a full disk for what a mount makes in the
// state directory before it is opened: it must come back, or nothing would ever
// free some. The caller holds the lock of the state directory. What is lent
// returns to the reserve when there is space.
func LendReserve(stateDir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(stateDir, &st); err != nil {
		return fmt.Errorf("free space of %s: %w", stateDir, err)
	}
	if int64(st.Bavail)*st.Bsize >= lentSize {
		return nil
	}
	path := newReserve(stateDir, nil).path
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, max(0, info.Size()-lentSize))
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("lend some of the journal's reserve: %w", err)
	}
	return nil
}

// persist journals records, on a full disk too. to is Write or Mark of the
// journal.
func (in *Instance) persist(to func(...journal.Record) error, records ...journal.Record) error {
	return in.reserve.spend(func() error { return to(records...) })
}

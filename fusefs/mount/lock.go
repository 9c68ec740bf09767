package mount

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockName is the file of a state directory that its holder locks. The lock
// belongs to the open file: supervisor and workers share it, and it ends with
// the last of them.
const lockName = "lock"

// Lock is a state directory that belongs to this process.
type Lock struct {
	file *os.File
	dir  string
}

// Holder is who has a state directory.
type Holder struct {
	PID        int    `json:"pid"`
	Mountpoint string `json:"mountpoint"`
}

// String is for messages.
func (h Holder) String() string {
	switch {
	case h.PID == 0:
		return "a process that is not known"
	case h.Mountpoint == "":
		return fmt.Sprintf("process %d", h.PID)
	}
	return fmt.Sprintf("process %d, mounted at %s", h.PID, h.Mountpoint)
}

// LockState takes a state directory, which exists. It waits up to wait for a
// predecessor that is going away; then the error wraps ErrInUse and names the
// holder.
func LockState(ctx context.Context, dir string, wait time.Duration, h Holder) (*Lock, error) {
	path := filepath.Join(dir, lockName)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state directory %s: %w", dir, err)
	}
	if err := flock(ctx, file, wait); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%w: %s belongs to %v; unmount that, or choose another --state-dir", ErrInUse, dir, readHolder(file))
		}
		return nil, errors.Join(err, file.Close())
	}
	l := &Lock{file: file, dir: dir}
	if err := l.write(h); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// AwaitFree waits until nobody holds the state directory and its last holder
// has ended, for wait at most each: what follows an unmount wants to mount
// again, or to unmount the disk that the directory is on.
func AwaitFree(ctx context.Context, dir string, wait time.Duration) error {
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("state directory %s: %w", dir, err)
	}
	holder, gone := unix.PidfdOpen(readHolder(file).PID, 0)
	err = errors.Join(flock(ctx, file, wait), file.Close())
	if gone != nil { // or of another pid namespace
		return err
	}
	_, polled := unix.Poll([]unix.PollFd{{Fd: int32(holder), Events: unix.POLLIN}}, int(wait.Milliseconds()))
	return errors.Join(err, polled, unix.Close(holder))
}

// lockPause is how often a taken lock is tried again.
const lockPause = 20 * time.Millisecond

func flock(ctx context.Context, file *os.File, wait time.Duration) error {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	again := time.NewTicker(lockPause)
	defer again.Stop()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return unix.EWOULDBLOCK
		case <-again.C:
		}
	}
}

// write says in the file who holds it.
func (l *Lock) write(h Holder) error {
	data, err := json.Marshal(h)
	if err != nil {
		return err
	}
	// Longer first, then cut: a reader never sees nothing.
	if _, err := l.file.WriteAt(append(data, '\n'), 0); err != nil {
		return fmt.Errorf("state directory %s: %w", l.dir, err)
	}
	return l.file.Truncate(int64(len(data) + 1))
}

func readHolder(file io.ReaderAt) Holder {
	var h Holder
	data := make([]byte, 8<<10)
	n, err := file.ReadAt(data, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return h
	}
	if json.Unmarshal(data[:n], &h) != nil {
		return Holder{}
	}
	return h
}

// Dir is the state directory.
func (l *Lock) Dir() string { return l.dir }

// Close gives the directory back, unless a worker still has it too.
func (l *Lock) Close() error { return l.file.Close() }

package mount

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// findTime is how long the search for a supervisor may take.
const findTime = 3 * time.Second

// FindState finds the state directory of a mount: its lock is held by the
// process that keeps the mount. Nothing is asked of the mount, which may be
// dead. It sees what this process may see.
func FindState(mountpoint string) (string, error) {
	pids, err := lockHolders()
	if err != nil {
		return "", err
	}
	found := make(chan string, len(pids))
	for _, pid := range pids {
		go func() { found <- stateOf(pid, mountpoint) }() // may hang, see search
	}
	late := time.NewTimer(findTime)
	defer late.Stop()
	for range pids {
		select {
		case dir := <-found:
			if dir != "" {
				return dir, nil
			}
		case <-late.C:
			return "", fmt.Errorf("%w at %s: not all processes could be looked at", ErrNoSupervisor, mountpoint)
		}
	}
	return "", fmt.Errorf("%w at %s", ErrNoSupervisor, mountpoint)
}

// lockHolders are the processes that hold a file lock, out of lines like
// "1: FLOCK  ADVISORY  WRITE 1611 fe:00:1234 0 EOF".
func lockHolders() ([]int, error) {
	data, err := os.ReadFile("/proc/locks")
	if err != nil {
		return nil, fmt.Errorf("locks of this machine: %w", err)
	}
	var pids []int
	for line := range bytes.Lines(data) {
		fields := strings.Fields(string(line))
		if len(fields) < 5 || fields[1] != "FLOCK" {
			continue
		}
		if pid, err := strconv.Atoi(fields[4]); err == nil && pid > 0 && !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// stateOf is the state directory that pid holds for a mountpoint, "" for
// none.
func stateOf(pid int, mountpoint string) string {
	fds := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(fds)
	if err != nil {
		return "" // not ours to see, or gone
	}
	for _, e := range entries {
		fd := filepath.Join(fds, e.Name())
		path, err := os.Readlink(fd)
		if err != nil || filepath.Base(path) != lockName {
			continue
		}
		if h := holderOf(fd); h.Mountpoint == mountpoint && h.PID == pid {
			return filepath.Dir(path)
		}
	}
	return ""
}

func holderOf(lock string) Holder {
	f, err := os.OpenFile(lock, os.O_RDONLY|unix.O_NONBLOCK, 0) // whatever calls itself lock
	if err != nil {
		return Holder{}
	}
	h := readHolder(f)
	_ = f.Close() // only read
	return h
}

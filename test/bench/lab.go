package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lab is one mount with a supervisor.
type lab struct {
	b      *bench
	dir    string
	point  string
	target string
	state  string
	config string // YAML
	up     bool
}

// lab prepares a mount; the timer is off.
func (b *bench) lab(config string) (*lab, error) {
	dir := filepath.Join(b.dir, "mount"+strconv.Itoa(len(b.labs)))
	l := &lab{
		b: b, dir: dir, point: filepath.Join(dir, "mnt"), target: filepath.Join(dir, "target"), state: filepath.Join(dir, "state"),
		config: config,
	}
	b.labs = append(b.labs, l)
	return l, os.Mkdir(dir, 0o755)
}

// mounted prepares a mount and mounts.
func (b *bench) mounted(ctx context.Context, config string, flags ...string) (*lab, error) {
	l, err := b.lab(config)
	if err == nil {
		err = l.mount(ctx, flags...)
	}
	return l, err
}

func (l *lab) mount(ctx context.Context, flags ...string) error {
	file := filepath.Join(l.dir, "sinkfs.yaml")
	if err := os.WriteFile(file, []byte(l.config), 0o600); err != nil {
		return err
	}
	args := append([]string{"mount", "-b", "-c", file, "--state-dir", l.state, "--checkpoint-interval", "0", "--log-level", "warn"}, flags...)
	cmd := exec.CommandContext(ctx, l.b.program, append(args, l.target, l.point)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mount: %w: %s", err, out)
	}
	l.up = true
	return nil
}

// close unmounts without a last checkpoint: what was measured is over.
func (l *lab) close() error {
	if !l.up {
		return nil
	}
	l.up = false
	cmd := exec.Command(l.b.program, "umount", "--no-drain", l.point) //nolint:noctx // also when interrupted
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == unpublished {
		err = nil
	}
	if err != nil {
		return errors.Join(fmt.Errorf("umount: %w: %s", err, out), unix.Unmount(l.point, unix.MNT_DETACH))
	}
	return nil
}

// unpublished is the exit code of an unmount that leaves bytes behind.
const unpublished = 8

func (l *lab) path(elem ...string) string {
	return filepath.Join(append([]string{l.point}, elem...)...)
}

// publish is a checkpoint, as a shell asks for one.
func (l *lab) publish() (time.Duration, error) {
	fd, err := unix.Open(l.path(".sinkfs", "checkpoint"), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	for again := true; again; again = errors.Is(err, unix.EINTR) { // the runtime interrupts its own calls
		_, err = unix.Write(fd, []byte("now timeout=300s\n"))
	}
	took := time.Since(start)
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return 0, fmt.Errorf("checkpoint: %w", err)
	}
	return took, nil
}

// supervisor is the process that holds the mount; its only child is the
// worker.
func (l *lab) supervisor() (int, error) {
	data, err := os.ReadFile(filepath.Join(l.state, "lock"))
	if err != nil {
		return 0, err
	}
	var holder struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal(data, &holder); err != nil {
		return 0, err
	}
	return holder.PID, nil
}

func (l *lab) worker() (int, error) {
	pid, err := l.supervisor()
	if err != nil {
		return 0, err
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return 0, err
	}
	for _, t := range tasks {
		data, err := os.ReadFile(t)
		if words := bytes.Fields(data); err == nil && len(words) > 0 {
			return strconv.Atoi(string(words[0]))
		}
	}
	return 0, errors.New("the supervisor has no child")
}

// usage is what a mount's two processes hold and have used.
type usage struct {
	now, peak int64 // resident bytes, peak since resetPeak
	cpu       time.Duration
}

func (l *lab) usage() (usage, error) {
	pids, err := l.pids()
	if err != nil {
		return usage{}, err
	}
	var u usage
	for _, pid := range pids {
		u.now += kilobytes(field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS"))
		u.peak += kilobytes(field(fmt.Sprintf("/proc/%d/status", pid), "VmHWM"))
		u.cpu += cpuOf(pid)
	}
	if u.now == 0 {
		return usage{}, errors.New("no memory is known of the mount's processes")
	}
	return u, nil
}

// resetPeak begins a new measurement of the peak.
func (l *lab) resetPeak() error {
	pids, err := l.pids()
	for _, pid := range pids {
		err = errors.Join(err, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0))
	}
	return err
}

func (l *lab) pids() ([]int, error) {
	s, err := l.supervisor()
	if err != nil {
		return nil, err
	}
	w, err := l.worker()
	return []int{s, w}, err
}

func kilobytes(text string) int64 {
	n, err := strconv.ParseInt(strings.TrimSuffix(text, " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}

// cpuOf is the processor time of a process, in the kernel's 100 ticks a
// second.
func cpuOf(pid int) time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	words := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	user, _ := strconv.ParseInt(words[11], 10, 64)   // proc(5)
	system, _ := strconv.ParseInt(words[12], 10, 64) // proc(5)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// settle writes back what is dirty, so that no run pays for the one before.
func (b *bench) settle() error {
	fd, err := unix.Open(b.dir, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(fd), unix.Close(fd))
}

// wait lets the mount come to rest.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

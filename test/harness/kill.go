package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ErrNoWorker says that between two workers there is none to kill.
var ErrNoWorker = errors.New("no worker runs")

// Worker is the process that serves the mount now: the child of the
// supervisor that runs as one.
func (l *Lab) Worker() (int, error) {
	if !l.Alive() {
		return 0, ErrNoWorker
	}
	parent := l.owner.cmd.Process.Pid
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	if err != nil {
		return 0, err
	}
	for _, list := range lists {
		data, err := os.ReadFile(list)
		if err != nil {
			continue // the thread is gone
		}
		for pid := range strings.FieldsSeq(string(data)) {
			line, err := os.ReadFile("/proc/" + pid + "/cmdline")
			if args := bytes.Split(line, []byte{0}); err == nil && len(args) > 1 && string(args[1]) == "worker" {
				return strconv.Atoi(pid)
			}
		}
	}
	return 0, ErrNoWorker
}

// NextWorker waits for a worker other than the given one.
func (l *Lab) NextWorker(ctx context.Context, last int) (int, error) {
	var pid int
	err := Await(ctx, "next worker", func() bool {
		var err error
		pid, err = l.Worker()
		return err == nil && pid != last || !l.Alive()
	})
	if err == nil && !l.Alive() {
		err = fmt.Errorf("%w: the supervisor is gone\n%s", ErrNoWorker, l.Log())
	}
	return pid, err
}

// KillWorker kills the worker with SIGKILL, once there is one, and returns
// its pid.
func (l *Lab) KillWorker(ctx context.Context, last int) (int, error) {
	pid, err := l.NextWorker(ctx, last)
	if err != nil {
		return 0, err
	}
	return pid, syscall.Kill(pid, syscall.SIGKILL)
}

// KillSupervisor kills the supervisor, with the worker first if both, and
// waits until it is gone.
func (l *Lab) KillSupervisor(both bool) error {
	if !l.Alive() {
		return fmt.Errorf("the supervisor is gone\n%s", l.Log())
	}
	if pid, err := l.Worker(); both && err == nil {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	if err := l.owner.cmd.Process.Kill(); err != nil {
		return err
	}
	<-l.owner.done
	l.owner = nil
	return nil
}

package mount

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// child is a worker as the supervisor sees it.
type child struct {
	link    *link
	pid     int
	process *os.Process // nil when it runs in this process
	started time.Time
	served  bool     // it answered requests
	killed  bool     // by SIGKILL, which is somebody else's doing
	last    *message // refuse, fail or done: what it said of its end
}

// event is something that a child did: a message, or its end.
type event struct {
	from  *child
	msg   message
	ended bool
	how   string // of the end: "exit status 1", "signal: killed"
}

// spawn starts a worker. It runs on the supervisor's thread, which lives as
// long as the supervisor: the kernel kills the worker when the thread that
// started it ends.
func (s *supervisor) spawn() (*child, error) {
	how := howFirst
	switch {
	case s.gone:
		how = howGone
	case s.conn != nil && s.conn.answer != nil:
		how = howTakeOver
	}
	ours, theirs, err := newLink()
	if err != nil {
		return nil, err
	}
	c := &child{link: ours, started: time.Now()}
	if s.o.InProcess != nil {
		return c, s.spawnHere(c, theirs, how)
	}
	if err := s.needMemory(); err != nil {
		return nil, errors.Join(err, ours.close(), theirs.Close())
	}
	cmd := exec.Command(s.o.Worker[0], s.o.Worker[1:]...) //nolint:noctx // it ends by message, by kill, or with us
	cmd.Env = append(os.Environ(), workerEnv+"="+how)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{theirs, s.memory, s.o.Lock.file}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = errors.Join(cmd.Start(), theirs.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("worker does not start: %w", err), ours.close())
	}
	c.pid, c.process = cmd.Process.Pid, cmd.Process
	go func() {
		s.listen(c)
		err := cmd.Wait()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok {
			c.killed = status.Signaled() && status.Signal() == syscall.SIGKILL
		}
		s.events <- event{from: c, ended: true, how: ending(err)}
	}()
	return c, nil
}

func ending(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// spawnHere runs the worker in this process.
func (s *supervisor) spawnHere(c *child, theirs *os.File, how string) error {
	l, err := linkOf(theirs)
	if err != nil {
		return errors.Join(err, c.link.close())
	}
	w := newWorker(l, how)
	w.shared = true
	c.pid = os.Getpid()
	go s.o.InProcess(w)
	go func() {
		s.listen(c)
		s.events <- event{from: c, ended: true, how: "it returned"}
	}()
	return nil
}

// listen passes messages on until the child closes its end, which its death
// does.
func (s *supervisor) listen(c *child) {
	for {
		m, file, err := c.link.read()
		if err != nil {
			return
		}
		if file != nil { // nobody sends us one
			if err := file.Close(); err != nil {
				s.log.Debug("surplus descriptor", errAttr(err))
			}
		}
		s.events <- event{from: c, msg: m}
	}
}

// needMemory makes the memory that the workers of one connection share.
func (s *supervisor) needMemory() error {
	if s.memory != nil {
		return nil
	}
	fd, err := unix.MemfdCreate("sinkfs", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("memory of the workers: %w", err)
	}
	s.memory = os.NewFile(uintptr(fd), "memory")
	if err := s.memory.Truncate(memorySize); err != nil {
		return fmt.Errorf("memory of the workers: %w", err)
	}
	return nil
}

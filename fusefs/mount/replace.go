package mount

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// probeTime is how long a new program may take to say that it can be started.
const probeTime = 20 * time.Second

// probed is what became of trying a replacement.
type probed struct {
	ask ask
	err error
}

// replace begins the change to the program that is installed now, with the
// command line that a asks for, if it can be started at all. The worker makes
// room, then the supervisor becomes the new program, then a new worker takes
// the connection over.
func (s *supervisor) replace(ctx context.Context, a ask) {
	reason := ""
	switch {
	case s.o.InProcess != nil:
		reason = "it runs without a supervisor, unmount and mount it instead"
	case s.draining != nil:
		reason = "it is being unmounted"
	case s.probing || s.retiring:
		return // once is enough
	}
	if reason != "" {
		s.refuseReplace(reason)
		return
	}
	if s.o.Probe == nil {
		s.onProbed(probed{ask: a})
		return
	}
	again := s.o.Again
	if len(a.Args) > 0 {
		again = a.Args
	}
	s.probing = true
	probe := s.o.Probe(again)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, probeTime)
		defer cancel()
		cmd := exec.CommandContext(ctx, probe[0], probe[1:]...)
		cmd.Dir = a.Dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s does not run: %w: %s", strings.Join(probe, " "), err, strings.TrimSpace(string(out)))
		}
		s.probed <- probed{ask: a, err: err}
	}()
}

func (s *supervisor) refuseReplace(reason string) {
	s.log.Warn("not replaced", slog.String("reason", reason))
	for _, c := range s.replacers {
		c.end(CodeFailed, reason)
	}
	s.replacers = nil
}

func (s *supervisor) onProbed(p probed) {
	s.probing = false
	switch {
	case p.err != nil:
		s.refuseReplace(p.err.Error())
	case s.draining != nil:
		s.refuseReplace("it is being unmounted")
	default:
		s.log.Info("replacing the worker")
		s.adoptArgs(p.ask)
		s.retire()
	}
}

// retire makes room for another worker.
func (s *supervisor) retire() {
	if s.child == nil {
		return // the next one is about to start anyway
	}
	s.retiring = true
	s.order(message{Kind: kindRetire})
	s.kill.Reset(retireTime)
}

// resumeEnv carries a supervisor's state through exec.
const resumeEnv = "SINKFS_RESUME"

// handed is the state; numbers are descriptors.
type handed struct {
	Fuse   int `json:"fuse"`
	Memory int `json:"memory"`
	Lock   int `json:"lock"`
	Bare   int `json:"bare"`

	Control int   `json:"control"` // the listening socket; 0 from a program that left none
	Asking  []int `json:"asking"`  // who waits for the replacement

	Dir    string `json:"dir"`
	Path   string `json:"path"`
	Device string `json:"device"`
	ByHand bool   `json:"by_hand"`
	Init   []byte `json:"init"`
	Answer []byte `json:"answer"`
}

// becomeNew turns the supervisor into the program that is installed now. It
// is called while no worker lives, and returns when it could not be done or
// need not: the old program then goes on with new workers.
func (s *supervisor) becomeNew(ctx context.Context) {
	if len(s.o.Again) == 0 || s.conn == nil || s.memory == nil {
		return
	}
	s.retiring = true // still, for who asks
	for _, c := range s.control.pause(s.requests) {
		s.onRequest(ctx, c)
	}
	// The next program has no handlers for its first moments; what is ignored
	// then stays so until it asks. SIGTERM ends it, as it would by nature.
	harmless := []os.Signal{syscall.SIGHUP, os.Interrupt, syscall.SIGUSR2}
	signal.Ignore(harmless...)
	signal.Stop(s.o.Signals) // what came before is in it now
	defer signal.Notify(s.o.Signals, append(harmless, syscall.SIGTERM)...)
	for len(s.o.Signals) > 0 { // the next program would never hear of them
		s.onSignal(ctx, <-s.o.Signals)
	}
	s.retiring = false
	if s.result != nil {
		return // asked to end before the mount was made
	}
	defer s.control.start(s.requests) // when it goes on as it was
	if s.remount || s.draining != nil {
		return
	}
	h := handed{
		Fuse: int(s.conn.dev.Fd()), Memory: int(s.memory.Fd()), Lock: int(s.o.Lock.file.Fd()), Bare: int(s.point.bare.Fd()),
		Dir: s.o.Lock.Dir(), Path: s.point.path, Device: s.conn.device, ByHand: s.conn.byHand, Init: s.conn.init, Answer: s.conn.answer,
	}
	if fd, err := descriptor(s.control.listener); err == nil {
		h.Control = fd
	}
	for _, c := range s.replacers {
		if fd, err := descriptor(c.conn); err == nil {
			h.Asking = append(h.Asking, fd)
		}
	}
	state, err := json.Marshal(h)
	if err != nil {
		s.log.Error("supervisor not replaced", errAttr(err))
		return
	}
	err = keepOverExec(h.descriptors(), true)
	if err == nil {
		err = syscall.Exec(s.o.Again[0], s.o.Again, append(os.Environ(), resumeEnv+"="+string(state)))
	}
	err = errors.Join(fmt.Errorf("exec of %s: %w", s.o.Again[0], err), keepOverExec(h.descriptors(), false))
	s.log.Error("supervisor not replaced, it goes on as it was", errAttr(err))
}

// descriptors are all that it names.
func (h handed) descriptors() []int {
	fds := []int{h.Fuse, h.Memory, h.Lock, h.Bare}
	if h.Control != 0 {
		fds = append(fds, h.Control)
	}
	return append(fds, h.Asking...)
}

func keepOverExec(fds []int, keep bool) error {
	flag := unix.FD_CLOEXEC
	if keep {
		flag = 0
	}
	for _, fd := range fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, flag); err != nil {
			return os.NewSyscallError("F_SETFD", err)
		}
	}
	return nil
}

// ResumedLock is the lock of a supervisor that has just become this program;
// nil in any other process. It is asked once, before anything is started.
func ResumedLock() (*Lock, error) {
	h, ok, err := readHanded()
	if !ok || err != nil {
		return nil, err
	}
	if err := keepOverExec(h.descriptors(), false); err != nil {
		return nil, err
	}
	return &Lock{file: os.NewFile(uintptr(h.Lock), lockName), dir: h.Dir}, nil
}

func readHanded() (handed, bool, error) {
	var h handed
	state, ok := os.LookupEnv(resumeEnv)
	if !ok {
		return h, false, nil
	}
	if err := json.Unmarshal([]byte(state), &h); err != nil {
		return h, true, fmt.Errorf("state of the supervisor before: %w", err)
	}
	return h, true, nil
}

// resume takes over what the program before left.
func (s *supervisor) resume() error {
	h, ok, err := readHanded()
	if !ok || err != nil {
		return err
	}
	if err := os.Unsetenv(resumeEnv); err != nil {
		return err
	}
	s.conn = &connection{
		dev: os.NewFile(uintptr(h.Fuse), "/dev/fuse"), device: h.Device, path: h.Path,
		init: h.Init, answer: h.Answer, byHand: h.ByHand,
	}
	s.memory = os.NewFile(uintptr(h.Memory), "memory")
	s.point = resumedPoint(h, s.log)
	s.mounted = true
	s.replacers = slices.DeleteFunc(resumedClients(h.Asking), func(c *client) bool { return c == nil })
	if h.Control != 0 {
		s.control, err = resumeControl(h.Dir, h.Control, s.requests, s.log)
	}
	return err
}

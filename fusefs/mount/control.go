package mount

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// controlName is the socket in the state directory: who may enter that, may
// ask. One JSON line asks, JSON lines answer, the last one has done set.
const controlName = "control"

// ask is what a client wants.
type ask struct {
	Op      string        `json:"op"`
	NoDrain bool          `json:"no_drain,omitempty"`
	Timeout time.Duration `json:"timeout,omitempty"`
	Args    []string      `json:"args,omitempty"` // replace: the command line of the mount from now on, with absolute paths
	Dir     string        `json:"dir,omitempty"`  // where that is tried first
}

// Operations.
const (
	opStatus  = "status"
	opUnmount = "unmount"
	opReplace = "replace"
)

// answerLine is one line of an answer.
type answerLine struct {
	Progress *Progress `json:"progress,omitempty"`
	Status   *Keeper   `json:"status,omitempty"`
	Done     bool      `json:"done,omitempty"`
	Code     int       `json:"code,omitempty"`
	Text     string    `json:"text,omitempty"`
}

// Keeper says who keeps a mount.
type Keeper struct {
	PID        int    `json:"pid"`
	Worker     int    `json:"worker"` // 0 while none runs
	Mountpoint string `json:"mountpoint"`
	Target     string `json:"target"`
	Draining   bool   `json:"draining"`

	Again []string `json:"again,omitempty"` // its command line
}

// client is one connection of the socket.
type client struct {
	conn net.Conn
	ask  ask
}

const clientTime = time.Second // a client that does not read is let go

func (c *client) say(a answerLine) {
	data, err := json.Marshal(a)
	if err == nil {
		err = c.conn.SetWriteDeadline(time.Now().Add(clientTime))
	}
	if err == nil {
		_, err = c.conn.Write(append(data, '\n'))
	}
	if err != nil || a.Done {
		// Who went away does not need an answer.
		_ = c.conn.Close()
	}
}

func (c *client) progress(p Progress) { c.say(answerLine{Progress: &p}) }

func (c *client) end(code int, text string) { c.say(answerLine{Done: true, Code: code, Text: text}) }

// descriptor is the socket's own, not a copy.
func descriptor(socket any) (int, error) {
	u, ok := socket.(syscall.Conn)
	if !ok {
		return 0, errors.New("not a socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, err
	}
	n := -1
	err = raw.Control(func(fd uintptr) { n = int(fd) })
	return n, err
}

func resumedClients(fds []int) []*client {
	clients := make([]*client, len(fds))
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "client")
		if conn, err := net.FileConn(f); err == nil {
			clients[i] = &client{conn: conn}
		}
		_ = f.Close() // FileConn made a copy
	}
	return clients
}

// controlServer accepts clients and hands their requests over.
type controlServer struct {
	listener *net.UnixListener
	path     string
	stop     chan struct{}
	wait     sync.WaitGroup
	log      *slog.Logger
}

// listenControl makes the socket. A socket's path is short by law, a state
// directory's need not be: it is reached through an open descriptor.
func listenControl(dir string, requests chan<- *client, log *slog.Logger) (*controlServer, error) {
	path := filepath.Join(dir, controlName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	var listener *net.UnixListener
	err := inDirectory(dir, func(short string) (err error) {
		listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	listener.SetUnlinkOnClose(false) // the short name is gone by then
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), listener.Close())
	}
	s := &controlServer{listener: listener, path: path, stop: make(chan struct{}), log: log}
	s.start(requests)
	return s, nil
}

// resumeControl goes on with the socket of the program before: who asked
// meanwhile waits in its queue.
func resumeControl(dir string, fd int, requests chan<- *client, log *slog.Logger) (*controlServer, error) {
	f := os.NewFile(uintptr(fd), controlName)
	l, err := net.FileListener(f)
	_ = f.Close() // FileListener made a copy
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	listener, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(errors.New("control socket: not a socket of ours"), l.Close())
	}
	listener.SetUnlinkOnClose(false)
	s := &controlServer{listener: listener, path: filepath.Join(dir, controlName), stop: make(chan struct{}), log: log}
	s.start(requests)
	return s, nil
}

func (s *controlServer) start(requests chan<- *client) {
	_ = s.listener.SetDeadline(time.Time{}) // that of pause
	s.wait.Go(func() { s.accept(requests) })
}

// pause stops accepting and returns who has asked already; who comes now
// waits in the socket's queue until start or another program accepts.
func (s *controlServer) pause(requests <-chan *client) []*client {
	_ = s.listener.SetDeadline(time.Unix(1, 0)) // fails when it is closed: nothing is accepted either
	done := make(chan struct{})
	go func() {
		s.wait.Wait()
		close(done)
	}()
	var asked []*client
	for {
		select {
		case c := <-requests:
			asked = append(asked, c)
		case <-done:
			return asked
		}
	}
}

// inDirectory calls fn with a short name of the socket.
func inDirectory(dir string, fn func(short string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(fn(fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), controlName)), d.Close())
}

func (s *controlServer) accept(requests chan<- *client) {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // closed or paused
		}
		s.wait.Go(func() { s.hear(conn, requests) })
	}
}

// hear reads one request.
func (s *controlServer) hear(conn net.Conn, requests chan<- *client) {
	c := &client{conn: conn}
	err := conn.SetReadDeadline(time.Now().Add(clientTime))
	if err == nil {
		var line []byte
		line, err = bufio.NewReader(conn).ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &c.ask)
		}
	}
	if err != nil {
		c.end(CodeFailed, "request not understood: "+err.Error())
		return
	}
	select {
	case requests <- c:
	case <-s.stop:
		c.end(CodeFailed, "the mount is gone")
	}
}

func (s *controlServer) close() {
	close(s.stop)
	err := errors.Join(s.listener.Close(), os.Remove(s.path))
	s.wait.Wait()
	if err != nil {
		s.log.Debug("control socket not removed", errAttr(err))
	}
}

// onRequest does what a client asks for, or keeps it until that is done.
func (s *supervisor) onRequest(ctx context.Context, c *client) {
	switch c.ask.Op {
	case opStatus:
		k := Keeper{PID: os.Getpid(), Mountpoint: s.point.path, Target: s.o.Source, Draining: s.draining != nil, Again: s.o.Again}
		if s.child != nil {
			k.Worker = s.child.pid
		}
		c.say(answerLine{Status: &k, Done: true})
	case opUnmount:
		s.unmounters = append(s.unmounters, c)
		if s.draining == nil || c.ask.NoDrain && !s.draining.NoDrain {
			s.drain(message{Kind: kindDrain, NoDrain: c.ask.NoDrain, Timeout: c.ask.Timeout})
		}
	case opReplace:
		if s.probing || s.retiring {
			c.end(CodeFailed, "another replacement is under way, ask again")
			return
		}
		s.replacers = append(s.replacers, c)
		s.replace(ctx, c.ask)
	default:
		c.end(CodeFailed, fmt.Sprintf("request %q is not known", c.ask.Op))
	}
}

// adoptArgs makes the command line of who asked for a replacement ours.
func (s *supervisor) adoptArgs(a ask) {
	if len(a.Args) == 0 || len(s.o.Again) == 0 {
		return
	}
	s.o.Again = a.Args
}

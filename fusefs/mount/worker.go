package mount

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/fusefs/conn"
)

// OrderKind is what the supervisor wants of a worker.
type OrderKind uint8

// The orders. Abandoned comes when nobody gives orders any more.
const (
	Drain     OrderKind = iota + 1 // end of input: publish, Detach, Done
	Retire                         // come to a safe point and end; serve until then, another worker goes on
	Abandoned                      // the supervisor is gone: the connection ends with this process
)

// Order is one of them.
type Order struct {
	Kind    OrderKind
	NoDrain bool          // Drain: publish nothing
	Gone    bool          // Drain: the connection ended already, there is nothing to detach
	Timeout time.Duration // Drain: of the last checkpoint, 0 is none
}

// Progress is how far the last checkpoint is.
type Progress struct {
	Text  string
	Bytes int64 // not yet published
	Parts int64
}

// Worker is the side of the process that serves. Its methods are called in
// this order: Ready, Connect, Serve; beside them whatever the orders ask
// for; last Done or Fail, and the process ends.
type Worker struct {
	// Memory is shared with the workers before and after this one, on the
	// same connection; nil when there can be none after it.
	Memory []byte
	// TakeOver: the connection was served before.
	TakeOver bool
	// Gone: there is no connection to serve any more, only a Drain to do.
	Gone bool

	link    *link
	dev     *os.File
	init    []byte
	orders  chan Order
	replies chan message
	lost    chan struct{} // closed when the supervisor is gone
	shared  bool          // in the supervisor's process: no death closes the link
	closing sync.Once
}

// What a worker inherits. The numbers begin at 3, in the order of ExtraFiles.
const (
	workerLink = 3 + iota
	workerMemory
	workerLock
)

// workerEnv marks a process that a supervisor started, and says for what.
const workerEnv = "SINKFS_WORKER"

// Values of workerEnv.
const (
	howFirst    = "first"    // nothing was served yet on the connection
	howTakeOver = "takeover" // another worker served it
	howGone     = "gone"     // there is none any more: only the drain is left
)

// memorySize is sparse: what is not written costs nothing.
const memorySize = 64 << 20

// Inherit is called by a process that a supervisor started, before it starts
// others or reads the environment for itself. In any other process it is
// ErrNoParent.
func Inherit() (*Worker, error) {
	how, ok := os.LookupEnv(workerEnv)
	if !ok {
		return nil, ErrNoParent
	}
	for fd := workerLink; fd <= workerLock; fd++ {
		unix.CloseOnExec(fd)
	}
	// A terminal and a service manager signal the whole group; only the
	// supervisor answers.
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	if err := os.Unsetenv(workerEnv); err != nil {
		return nil, err
	}
	l, err := linkOf(os.NewFile(workerLink, "supervisor"))
	if err != nil {
		return nil, err
	}
	w := newWorker(l, how)
	w.Memory, err = unix.Mmap(workerMemory, 0, memorySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("memory of the supervisor: %w", err)
	}
	return w, nil
}

func newWorker(l *link, how string) *Worker {
	w := &Worker{
		link: l, TakeOver: how == howTakeOver, Gone: how == howGone,
		orders: make(chan Order, 16), replies: make(chan message, 4), lost: make(chan struct{}),
	}
	go w.listen()
	return w
}

// listen sorts what the supervisor says until it is gone.
func (w *Worker) listen() {
	defer close(w.lost)
	for {
		m, file, err := w.link.read()
		if err != nil {
			w.orders <- Order{Kind: Abandoned}
			return
		}
		if m.Kind == kindDrain {
			w.orders <- Order{Kind: Drain, NoDrain: m.NoDrain, Gone: m.Gone, Timeout: m.Timeout}
			continue
		}
		if m.Kind == kindRetire {
			w.orders <- Order{Kind: Retire}
			continue
		}
		if file != nil {
			w.dev = file // read after the reply, which the channel orders
		}
		w.replies <- m
	}
}

// Orders are what the supervisor asks for. A later Drain may ask for more
// haste than an earlier one.
func (w *Worker) Orders() <-chan Order { return w.orders }

// reply waits for an answer of the supervisor.
func (w *Worker) reply() (message, error) {
	select {
	case m := <-w.replies:
		return m, nil
	case <-w.lost:
		return message{}, fmt.Errorf("the supervisor is gone: %w", io.EOF)
	}
}

// Ready tells the supervisor that the instance is open, and waits until the
// mount is made. TakeOver is certain after it only.
func (w *Worker) Ready() error {
	if err := w.link.write(message{Kind: kindReady}, nil); err != nil {
		return err
	}
	m, err := w.reply()
	switch {
	case err != nil:
		return err
	case m.Kind != kindServe || w.dev == nil:
		return fmt.Errorf("the supervisor said %q instead of giving the connection", m.Kind)
	}
	w.init, w.TakeOver = m.Init, m.TakeOver
	return nil
}

// Serve answers requests until the connection ends.
func (w *Worker) Serve(c *conn.Conn) error {
	if err := w.link.write(message{Kind: kindServing}, nil); err != nil {
		return err
	}
	err := errors.Join(c.Serve(), w.dev.Close())
	// A supervisor that is gone has no ear for this.
	return errors.Join(err, w.link.write(message{Kind: kindGone}, nil))
}

// Say reports progress of the last checkpoint.
func (w *Worker) Say(p Progress) error {
	return w.link.write(message{Kind: kindProgress, Text: p.Text, Bytes: p.Bytes, Parts: p.Parts}, nil)
}

// Detach has the mount taken out of the name space. Who still has files open
// keeps them until this process ends.
func (w *Worker) Detach() (Open, error) {
	if err := w.link.write(message{Kind: kindDetach}, nil); err != nil {
		return Open{}, err
	}
	m, err := w.reply()
	if err == nil && m.Text != "" {
		err = errors.New(m.Text)
	}
	return m.Open, err
}

// Refuse says that the live connection cannot be taken over: the supervisor
// mounts anew, and says why. The worker ends after it.
func (w *Worker) Refuse(reason string) error {
	return w.end(message{Kind: kindRefuse, Text: reason})
}

// Fail says why the worker ends without having done its work; code and reason
// become those of the mount command.
func (w *Worker) Fail(code int, reason string) error {
	return w.end(message{Kind: kindFail, Code: code, Text: reason})
}

// Done says that the worker ends because it was asked to. code, and reason if
// there is something to say, become those of the mount command, unless
// another worker goes on.
func (w *Worker) Done(code int, reason string) error {
	return w.end(message{Kind: kindDone, Code: code, Text: reason})
}

func (w *Worker) end(m message) error {
	err := w.link.write(m, nil)
	if w.shared {
		w.closing.Do(func() { err = errors.Join(err, w.link.close()) })
	}
	return err
}

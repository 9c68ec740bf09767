package conn_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/fusefs/conn"
)

// names is a directory of files. "hold" names are looked up for as long as
// the test wants, "slow" ones too but they say so.
type names struct {
	fuse.RawFileSystem
	conn         *conn.Conn
	held         chan struct{} // told for each that is held
	release      chan struct{} // closed at the end
	disconnected atomic.Bool
	logged       lines
	holdWrites   atomic.Bool
	unmounted    atomic.Bool

	mu      sync.Mutex
	written bytes.Buffer
}

func (f *names) Connected(c *conn.Conn) { f.conn = c }
func (f *names) Disconnected()          { f.disconnected.Store(true) }
func (f *names) OnUnmount()             { f.unmounted.Store(true) }

// lines counts what is logged.
type lines struct{ n atomic.Int32 }

func (l *lines) Write(p []byte) (int, error) {
	l.n.Add(1)
	return len(p), nil
}

const file = 2

func (f *names) Lookup(_ <-chan struct{}, _ *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	switch {
	case name == "file":
		out.NodeId, out.Attr = file, fuse.Attr{Ino: file, Mode: syscall.S_IFREG | 0o666, Nlink: 1}
		return fuse.OK
	case strings.HasPrefix(name, "file"): // many
		n, _ := strconv.ParseUint(name[len("file"):], 10, 64)
		out.NodeId, out.Attr = file+n, fuse.Attr{Ino: file + n, Mode: syscall.S_IFREG | 0o666, Nlink: 1}
		return fuse.OK
	case bytes.HasPrefix([]byte(name), []byte("slow")):
		f.conn.Slow()
		fallthrough
	case bytes.HasPrefix([]byte(name), []byte("hold")):
		f.held <- struct{}{}
		<-f.release
	case name == "panic":
		panic("on purpose")
	}
	return fuse.ENOENT
}

func (f *names) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.Attr = fuse.Attr{Ino: in.NodeId, Mode: syscall.S_IFREG | 0o666, Nlink: 1}
	if in.NodeId == fuse.FUSE_ROOT_ID {
		out.Mode = syscall.S_IFDIR | 0o755
	}
	return fuse.OK
}

func (f *names) Open(_ <-chan struct{}, _ *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	return fuse.OK
}

func (f *names) Write(_ <-chan struct{}, _ *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if f.holdWrites.Load() {
		f.conn.Slow()
		f.held <- struct{}{}
		<-f.release
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n, _ := f.written.Write(data)
	return uint32(n), fuse.OK
}

func (f *names) Read(_ <-chan struct{}, in *fuse.ReadIn, _ []byte) (fuse.ReadResult, fuse.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.written.Bytes()
	from := min(in.Offset, uint64(len(all)))
	return fuse.ReadResultData(all[from:min(from+uint64(in.Size), uint64(len(all)))]), fuse.OK
}

type mounted struct {
	*names
	dir    string
	served chan error
	dev    *os.File
}

func mount(t *testing.T) *mounted {
	t.Helper()
	m := &mounted{
		names: &names{
			RawFileSystem: fuse.NewDefaultRawFileSystem(), held: make(chan struct{}, 1000), release: make(chan struct{}),
		},
		dir: t.TempDir(), served: make(chan error, 1),
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	m.dev = os.NewFile(uintptr(fd), "/dev/fuse")
	if err := unix.Mount("conn", m.dir, "fuse.conn", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		t.Fatal(err)
	}
	request := make([]byte, 2<<20)
	n, err := unix.Read(fd, request)
	if err != nil {
		t.Fatal(err)
	}
	c := conn.New(m.names, &fuse.MountOptions{MaxWrite: 1 << 20, Logger: slog.NewLogLogger(slog.NewTextHandler(&m.logged, nil), slog.LevelWarn)})
	answer, err := c.Negotiate(request[:n])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fd, answer); err != nil {
		t.Fatal(err)
	}
	c.Attach(m.dev)
	go func() { m.served <- c.Serve() }()
	t.Cleanup(func() { m.end(t) })
	return m
}

// end may come twice.
func (m *mounted) end(t *testing.T) {
	select {
	case <-m.release:
		return
	default:
	}
	close(m.release)
	if err := unix.Unmount(m.dir, unix.MNT_DETACH); err != nil {
		t.Error(err)
	}
	if err := <-m.served; err != nil {
		t.Errorf("served: %v", err)
	}
	if !m.disconnected.Load() || !m.unmounted.Load() {
		t.Error("the file system was not told of the end")
	}
	if err := m.dev.Close(); err != nil {
		t.Error(err)
	}
}

// stat looks names up beside the test.
func (m *mounted) stat(wg *sync.WaitGroup, format string, n int) {
	for i := range n {
		wg.Go(func() { _, _ = os.Stat(filepath.Join(m.dir, fmt.Sprintf(format, i))) })
	}
}

// open is not os.OpenFile, which polls what it opens: the runtime would wait
// for an answer of its own process.
func (m *mounted) open(t *testing.T) *os.File {
	t.Helper()
	fd, err := unix.Open(filepath.Join(m.dir, "file"), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "file")
	t.Cleanup(func() { _ = f.Close() }) // before the mount ends
	return f
}

func TestOneSlowAnswerHoldsNobody(t *testing.T) {
	for _, name := range []string{"hold%d", "slow%d"} {
		t.Run(name[:4], func(t *testing.T) {
			m := mount(t)
			var wg sync.WaitGroup
			const callers = 100
			m.stat(&wg, name, callers)
			for range callers { // else this waits for ever
				<-m.held
			}
			if _, err := os.Stat(filepath.Join(m.dir, "other")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("beside them: %v", err)
			}
			m.end(t)
			wg.Wait()
		})
	}
}

// abort ends the connection under its calls.
func (m *mounted) abort(t *testing.T) {
	t.Helper()
	if err := unix.Unmount(m.dir, unix.MNT_FORCE); err != nil && !errors.Is(err, unix.EBUSY) {
		t.Fatal(err)
	}
	for begun := time.Now(); !m.disconnected.Load(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > 5*time.Second {
			t.Fatal("the file system is not told of the end")
		}
	}
}

// That nobody wants the answers any more is nothing to warn of.
func TestCallsUnderWayWhenTheConnectionIsAborted(t *testing.T) {
	m := mount(t)
	cwd, err := unix.Open(m.dir, unix.O_PATH|unix.O_CLOEXEC, 0) // else the mount goes too
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	const callers = 50
	m.stat(&wg, "slow%d", callers)
	for range callers {
		<-m.held
	}
	m.abort(t)
	wg.Wait()
	_ = unix.Close(cwd)
	m.end(t)
	if n := m.logged.n.Load(); n > 0 {
		t.Errorf("%d lines are logged", n)
	}
}

// Large writes that are not answered hold all memory to read into: nobody
// reads, and nobody reads that the connection has ended.
func TestAbortWhileLargeWritesHoldAllMemory(t *testing.T) {
	m := mount(t)
	m.holdWrites.Store(true)
	cwd, err := unix.Open(m.dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	const most = 64
	var fds []int
	for i := range most + 6 {
		fd, err := unix.Open(filepath.Join(m.dir, fmt.Sprintf("file%d", 1+i)), unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
	}
	for _, fd := range fds {
		wg.Go(func() { _, _ = unix.Write(fd, make([]byte, 9000)) })
	}
	for range most {
		<-m.held
	}
	m.abort(t)
	wg.Wait()
	for _, fd := range append(fds, cwd) {
		_ = unix.Close(fd)
	}
	m.end(t)
}

func TestSlowSaysSoAtOnce(t *testing.T) {
	m := mount(t)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer m.end(t)
	const callers = 200
	begun := time.Now()
	m.stat(&wg, "slow%d", callers)
	for range callers {
		<-m.held
	}
	// One tick of watch for each would be 2 s and more.
	if took := time.Since(begun); took > time.Second {
		t.Errorf("%d calls that say that they are slow began within %v", callers, took)
	}
}

func TestRequestsOfAllSizes(t *testing.T) {
	m := mount(t)
	f := m.open(t)
	var want bytes.Buffer
	for i, size := range []int{1, 100, 4096, 8000, 8 << 10, 9000, 32 << 10, 100_000, 1 << 20, 1<<20 + 1, 5_000_000} {
		data := bytes.Repeat([]byte{byte('a' + i)}, size)
		want.Write(data)
		if n, err := f.WriteAt(data, 0); err != nil || n != size {
			t.Fatalf("write of %d bytes: %d, %v", size, n, err)
		}
	}
	got, err := io.ReadAll(io.NewSectionReader(f, 0, 100<<20))
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("read %d bytes of %d, equal %v: %v", len(got), want.Len(), bytes.Equal(got, want.Bytes()), err)
	}
	for _, size := range []int{1, 5000, 40_000, 3 << 20} {
		buf := make([]byte, size)
		if n, err := f.ReadAt(buf, 7); n != size || err != nil || !bytes.Equal(buf, want.Bytes()[7:7+size]) {
			t.Errorf("read of %d bytes at 7: %d, %v", size, n, err)
		}
	}
}

// The memory of a request is its own until it is answered.
func TestLargeRequestsBesideOthers(t *testing.T) {
	m := mount(t)
	f := m.open(t)
	done := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(done)
	for i := range 3 {
		wg.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-done:
					return
				default:
					_, _ = os.Stat(filepath.Join(m.dir, fmt.Sprintf("%0*d", 200, 10*k+i)))
				}
			}
		})
	}
	for i := range 100 {
		data := bytes.Repeat([]byte{byte(1 + i)}, 1<<20)
		if _, err := f.Write(data); err != nil {
			t.Fatal(err)
		}
		m.mu.Lock()
		got := bytes.Equal(m.written.Bytes(), data)
		m.written.Reset()
		m.mu.Unlock()
		if !got {
			t.Fatalf("write %d arrived as something else", i)
		}
	}
}

func TestManyCallersAtOnce(t *testing.T) {
	m := mount(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 2000 {
				if _, err := os.Stat(filepath.Join(m.dir, fmt.Sprintf("none%d.%d", i, k))); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("lookup: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func TestPanicIsAnError(t *testing.T) {
	m := mount(t)
	if _, err := os.Stat(filepath.Join(m.dir, "panic")); !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(m.dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the next call: %v", err)
	}
}

func TestNegotiateRefusesWhatIsNoInit(t *testing.T) {
	c := conn.New(&names{RawFileSystem: fuse.NewDefaultRawFileSystem()}, &fuse.MountOptions{})
	for _, request := range [][]byte{nil, make([]byte, 8), binary.NativeEndian.AppendUint32(make([]byte, 36), 7)} {
		if answer, err := c.Negotiate(request); err == nil && len(answer) > 16 {
			t.Errorf("%d bytes: %d bytes and no error", len(request), len(answer))
		}
	}
}

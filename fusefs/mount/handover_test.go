package mount_test

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// load is a writer that does everything a program does with a log file.
type load struct {
	path    string
	calls   atomic.Int64
	lines   int
	longest time.Duration
	err     error
}

func (l *load) call(fn func() error) {
	begin := time.Now()
	err := fn()
	l.calls.Add(1)
	l.longest = max(l.longest, time.Since(begin))
	if err != nil && l.err == nil {
		l.err = fmt.Errorf("call %d: %w", l.calls.Load(), err)
	}
}

// run writes numbered lines until stop is closed or a call fails.
func (l *load) run(flags int, stop <-chan struct{}) {
	var f *os.File
	for l.err == nil {
		select {
		case <-stop:
			return
		default:
		}
		l.call(func() (err error) { f, err = os.OpenFile(l.path, flags, 0); return err })
		for i := 0; i < 5 && l.err == nil; i++ {
			l.call(func() error { _, err := fmt.Fprintf(f, "line %08d\n", l.lines); return err })
			if l.err == nil {
				l.lines++
			}
		}
		if l.err == nil {
			l.call(func() error { _, err := f.Stat(); return err })
		}
		if l.err == nil && l.lines%20 == 0 {
			l.call(f.Sync)
		}
		if l.err == nil {
			l.call(f.Close)
		}
	}
}

// underLoad runs disturb while two writers write; nothing may fail, and every
// line must be there once.
func underLoad(t *testing.T, k *keeper, disturb func()) {
	t.Helper()
	appender := &load{path: k.path("a.log")}
	daemon := &load{path: k.path("b.log")}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { appender.run(os.O_WRONLY|os.O_APPEND, stop) })
	wg.Go(func() { daemon.run(os.O_WRONLY, stop) })
	disturb()
	close(stop)
	wg.Wait()
	for node, l := range map[int]*load{nodeAppend: appender, nodeDaemon: daemon} {
		if l.err != nil {
			t.Errorf("%s: %v", l.path, l.err)
		}
		data, err := os.ReadFile(k.file(fmt.Sprintf("spool.%d", node)))
		if err != nil {
			t.Fatal(err)
		}
		seen := countLines(data)
		for i := range l.lines {
			if n := seen[fmt.Sprintf("line %08d\n", i)]; n != 1 {
				t.Fatalf("%s: line %d is there %d times", l.path, i, n)
			}
		}
		t.Logf("%s: %d calls, %d lines, longest wait %v", l.path, l.calls.Load(), l.lines, l.longest)
	}
}

// more waits until the mount has answered some more calls.
func (k *keeper) more(n int) {
	k.t.Helper()
	var st unix.Stat_t
	for range n {
		if err := unix.Stat(k.path("b.log"), &st); err != nil {
			k.t.Fatalf("stat: %v", err)
		}
	}
}

func TestWritersDoNotNoticeKills(t *testing.T) {
	k := newPlan(t).mounted(t)
	underLoad(t, k, func() {
		for range 6 {
			k.more(300)
			k.killWorker()
		}
		k.more(300)
	})
	k.signal(syscall.SIGTERM)
	k.wantCode(0)
}

func TestOpenDescriptorOutlivesWorkers(t *testing.T) {
	k := newPlan(t).mounted(t)
	a, err := os.OpenFile(k.path("a.log"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := os.OpenFile(k.path("b.log"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for i := range 3 {
		for _, f := range []*os.File{a, b} {
			if _, err := fmt.Fprintf(f, "%d\n", i); err != nil {
				t.Errorf("write %d: %v", i, err)
			}
			if err := f.Sync(); err != nil {
				t.Errorf("fsync %d: %v", i, err)
			}
			if info, err := f.Stat(); err != nil || info.Size() != int64(2*i+2) {
				t.Errorf("fstat %d: %v, %v", i, info, err)
			}
		}
		k.killWorker()
	}
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Error(err)
	}
}

// A WRITE that the dead worker applied and did not answer comes again and is
// not applied again.
func TestAppliedWriteIsNotRepeated(t *testing.T) {
	p := newPlan(t)
	k := p.mounted(t)
	set(t, p, "hold-answer")
	f, err := os.OpenFile(k.path("b.log"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	written := make(chan error, 1)
	go func() {
		_, err := f.WriteString("HOLD\n")
		written <- err
	}()
	k.await("the write is applied", func() bool { return p.has("hold-answer.reached") })
	if err := syscall.Kill(k.worker(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	unset(t, p, "hold-answer")
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(p.file("spool.3"))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(data); got != "HOLD\n" {
		t.Fatalf("spool holds %q", got)
	}
	if done, err := os.ReadFile(p.file("resent")); err != nil || string(done) != "5" {
		t.Fatalf("resent: %q, %v", done, err)
	}
}

// Names that the kernel remembers as missing are asked for again.
func TestTakeOverDropsRememberedNames(t *testing.T) {
	p := newPlan(t)
	k := p.mounted(t)
	if _, err := os.Stat(k.path("later")); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	set(t, p, "later")
	if _, err := os.Stat(k.path("later")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the kernel does not remember, the test shows nothing: %v", err)
	}
	k.killWorker()
	k.more(1)
	if _, err := os.Stat(k.path("later")); err != nil {
		t.Fatal(err)
	}
}

func TestTwoKillsWithinRestart(t *testing.T) {
	p := newPlan(t)
	k := p.mounted(t)
	underLoad(t, k, func() {
		k.more(100)
		set(t, p, "hold-start")
		k.killWorker() // the next one does not get to serve
		k.killWorker()
		k.killWorker()
		unset(t, p, "hold-start")
		k.more(100)
	})
}

// A worker that would negotiate something else cannot go on: the mount is
// made anew.
func TestOtherNegotiationMountsAnew(t *testing.T) {
	p := newPlan(t)
	k := p.mounted(t)
	f, err := os.OpenFile(k.path("b.log"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	set(t, p, "other")
	k.killWorker()
	k.await("it says so", func() bool { return k.says("mounting anew") })
	k.await("a worker serves", func() bool {
		var st unix.Stat_t
		return unix.Stat(k.path("b.log"), &st) == nil
	})
	if _, err := f.WriteString("x"); !errors.Is(err, syscall.ENOTCONN) && !errors.Is(err, syscall.ECONNABORTED) {
		t.Errorf("old descriptor: %v", err)
	}
	if err := os.WriteFile(k.path("a.log"), []byte("again\n"), 0); err != nil {
		t.Error(err)
	}
	k.signal(syscall.SIGTERM)
	k.wantCode(0)
	if isMounted(t, k.Mountpoint) {
		t.Error("still mounted")
	}
}

func TestGivesUpAfterYoungDeaths(t *testing.T) {
	p := newPlan(t)
	p.YoungAge, p.YoungMax = time.Hour, 3
	k := p.mounted(t)
	f, err := os.OpenFile(k.path("b.log"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	set(t, p, "crash")
	if err := syscall.Kill(k.worker(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	k.wantCode(1)
	k.await("it says why", func() bool { return k.says("3 workers in a row died") })
	if isMounted(t, k.Mountpoint) {
		t.Error("still mounted")
	}
	if _, err := f.WriteString("x"); !errors.Is(err, syscall.ENOTCONN) && !errors.Is(err, syscall.ECONNABORTED) {
		t.Errorf("old descriptor: %v", err)
	}
	if err := os.WriteFile(k.path("lost.log"), []byte("x"), 0o600); !errors.Is(err, syscall.EPERM) {
		t.Errorf("a log beneath the mount: %v", err)
	}
}

// A worker that is killed from outside is no worker that does not get better,
// even when it comes to nothing.
func TestNeverGivesUpAfterKills(t *testing.T) {
	p := newPlan(t)
	p.YoungAge, p.YoungMax = time.Hour, 3
	k := p.mounted(t)
	set(t, p, "killed")
	if err := syscall.Kill(k.worker(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	k.await("more deaths than would end it", func() bool { return k.says("in_a_row=6") })
	unset(t, p, "killed")
	k.more(1)
	k.signal(syscall.SIGTERM)
	k.wantCode(0)
}

// A worker that says why it cannot start waits for somebody to mend it, as do
// the programs that write.
func TestWaitsForWhatCanBeMended(t *testing.T) {
	p := newPlan(t)
	p.YoungAge, p.YoungMax = time.Hour, 3
	k := p.mounted(t)
	set(t, p, "fail")
	if err := syscall.Kill(k.worker(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	k.await("more failures than would end it", func() bool { return k.says("in_a_row=4") })
	unset(t, p, "fail")
	k.more(1)
	k.signal(syscall.SIGTERM)
	k.wantCode(0)
}

func TestFailingWorkerEndsBeforeMount(t *testing.T) {
	for _, tt := range []struct {
		how, says string
		code      int
	}{
		{"fail", "mount: state is damaged", 6},
		{"crash", "the worker ended before the mount was made: exit status 2", 1},
	} {
		t.Run(tt.how, func(t *testing.T) {
			p := newPlan(t)
			set(t, p, tt.how)
			k := p.start(t)
			k.wantCode(tt.code)
			k.await("it says why", func() bool { return k.says(tt.says) })
			if p.has("mounted") || isMounted(t, k.Mountpoint) {
				t.Error("it mounted")
			}
		})
	}
}

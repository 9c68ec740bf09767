package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/lifecycle/audit"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

const (
	growUnit  = 1 << 10
	growAbove = 4 << 10
)

// garden is a running Instance whose store takes growing parts.
type garden struct {
	t     *testing.T
	in    *Instance
	dir   string
	store *mem.Store
	sink  Sink

	ahead atomic.Int64 // of the instance's clock

	mu    sync.Mutex
	calls map[mem.Op]int
	hook  mem.Hook
	stop  func()
}

func newGarden(t *testing.T) *garden {
	t.Helper()
	g := &garden{t: t, dir: t.TempDir(), calls: map[mem.Op]int{}, sink: DefaultSink()}
	g.sink.Assigner, g.sink.Rolling.MaxPartSize = BasePath{}, 64<<10
	g.store = mem.New(mem.Options{
		Unit: growUnit, Properties: backend.Properties{StageAbove: growAbove},
		Before: func(ctx context.Context, op mem.Op, k backend.Key) error {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.calls[op]++
			if g.hook != nil {
				return g.hook(ctx, op, k)
			}
			return nil
		},
	})
	return g
}

// start opens the instance and runs it until the test ends, or stop.
func (g *garden) start() {
	g.t.Helper()
	var err error
	g.in, err = Open(g.t.Context(), Config{StateDir: g.dir, Store: g.store, Sinks: []Sink{g.sink}, CommitTimeout: time.Second})
	if err != nil {
		g.t.Fatal(err)
	}
	g.in.now = func() time.Time { return time.Now().Add(time.Duration(g.ahead.Load())) }
	ctx, cancel := context.WithCancel(g.t.Context())
	done := make(chan error, 1)
	go func() { done <- g.in.Run(ctx) }()
	g.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, g.in.Close()); err != nil {
			g.t.Error(err)
		}
	})
	g.t.Cleanup(g.stop)
}

// open makes a source and returns its file, for appending.
func (g *garden) open(name string) *os.File {
	g.t.Helper()
	a, err := g.in.Lookup(g.in.Root(), name)
	if err != nil {
		if a, err = g.in.Create(g.in.Root(), name, 0o644, Caller{}); err != nil {
			g.t.Fatal(err)
		}
	}
	if _, err := g.in.OpenFile(a.Ino, Use{Write: true}, Caller{}); err != nil {
		g.t.Fatal(err)
	}
	f, err := g.in.Descriptor(a.Ino, os.O_WRONLY|os.O_APPEND)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = f.Close() })
	return f
}

// lines are n bytes of lines of 16.
func lines(from, n int) string {
	var b strings.Builder
	for i := range n / 16 {
		fmt.Fprintf(&b, "%015d\n", from+i)
	}
	return b.String()
}

func (g *garden) write(f *os.File, text string) {
	g.t.Helper()
	if _, err := f.WriteString(text); err != nil {
		g.t.Fatal(err)
	}
}

func (g *garden) eventually(what string, ok func() bool) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			g.t.Fatalf("never: %s", what)
		}
	}
}

func (g *garden) count(op mem.Op) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calls[op]
}

// fail has the store do what h says.
func (g *garden) fail(h mem.Hook) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hook = h
}

// sent is how much is at the store of the segment that a source grows.
func (g *garden) sent(name string) (n int64) {
	a, err := g.in.Lookup(g.in.Root(), name)
	if err != nil {
		g.t.Fatal(err)
	}
	s := g.in.source(a.Ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut == nil {
		return 0
	}
	for _, seg := range s.cut.inLine() {
		if x := seg.growth; x != nil {
			x.turn <- struct{}{}
			n += x.sent
			x.leave()
		}
	}
	return n
}

func (g *garden) uploads() (all []backend.Upload) {
	g.t.Helper()
	if err := g.store.Uploads(g.t.Context(), "", func(u backend.Upload) error {
		all = append(all, u)
		return nil
	}); err != nil {
		g.t.Fatal(err)
	}
	return all
}

// journaled are the uploads that the journal knows.
func (g *garden) journaled() (n int) {
	g.t.Helper()
	if err := g.in.journal.Load(func(r journal.Record) error {
		if _, ok := r.(journal.Upload); ok {
			n++
		}
		return nil
	}); err != nil {
		g.t.Fatal(err)
	}
	return n
}

func (g *garden) publish(t Trigger) {
	g.t.Helper()
	if c, err := g.in.Checkpoint(g.t.Context(), t); err != nil {
		g.t.Fatalf("checkpoint %+v: %v", c, err)
	}
}

// want compares the bodies of the objects, by the number in their names.
func (g *garden) want(bodies map[string]string) {
	g.t.Helper()
	got := map[string]string{}
	for k, body := range g.store.Objects() {
		name := path.Base(string(k))
		got[name[strings.LastIndexByte(name, '-')+1:]] = string(body)
	}
	if d := cmp.Diff(bodies, got); d != "" {
		g.t.Errorf("objects (-want +got)\n%s", d)
	}
}

// clean has an audit find nothing, and nothing left over.
func (g *garden) clean() {
	g.t.Helper()
	r, err := audit.Fsck(g.t.Context(), audit.Input{Store: g.store, State: func(context.Context) (audit.State, error) { return g.in.Account() }})
	if err != nil || r.Problems > 0 {
		g.t.Errorf("fsck: %d problems, %v: %+v", r.Problems, err, r.Rows)
	}
	if left := g.uploads(); len(left) > 0 {
		g.t.Errorf("uploads are left: %v", left)
	}
}

// TestGrowingPartIsSentBeforeItsCheckpoint: the checkpoint has only the rest
// to send.
func TestGrowingPartIsSentBeforeItsCheckpoint(t *testing.T) {
	g := newGarden(t)
	g.start()
	small, f := g.open("a.log"), g.open("b.log")
	g.write(small, "small\n")
	g.write(g.open("c.log"), "smaller\n")
	text := lines(0, growAbove)
	g.write(f, text)
	if n := g.sent("b.log"); n != 0 {
		t.Errorf("%d bytes are sent of a part that may need no staging", n)
	}
	for i := range 5 {
		more := lines(1000*(i+1), 5*growUnit+32)
		g.write(f, more)
		text += more
		whole := int64(len(text)) / growUnit * growUnit
		g.eventually("whole units are sent", func() bool { return g.sent("b.log") == whole })
	}
	g.write(f, "no end")
	g.want(map[string]string{})
	if n, up := g.journaled(), g.uploads(); n != 1 || len(up) != 1 || !strings.Contains(string(up[0].Key), g.in.UID()+"-0") {
		t.Errorf("the journal knows %d uploads, the store %v; want 1 of number 0", n, up)
	}
	r, err := audit.Fsck(t.Context(), audit.Input{Store: g.store, State: func(context.Context) (audit.State, error) { return g.in.Account() }})
	if err != nil || r.Problems > 0 || len(r.Rows) == 0 || !containsRow(r.Rows, audit.Uploads, audit.Pending) {
		t.Errorf("fsck: %d problems, %v: %+v", r.Problems, err, r.Rows)
	}
	appended := g.count(mem.Append)
	g.publish(Now)
	// The large one was begun first; what small sources wrote is not packed into it.
	g.want(map[string]string{"0": text, "1": "small\n", "2": "smaller\n"})
	if n := g.count(mem.Append) - appended; n != 1 {
		t.Errorf("the checkpoint appended %d times, want the rest once", n)
	}
	g.publish(End)
	g.want(map[string]string{"0": text, "1": "small\n", "2": "smaller\n", "3": "no end"})
	if n := g.journaled(); n != 0 {
		t.Errorf("the journal knows %d uploads", n)
	}
	g.clean()
}

func containsRow(rows []audit.Row, a audit.Area, k audit.Kind) bool {
	for _, r := range rows {
		if r.Area == a && r.Kind == k {
			return true
		}
	}
	return false
}

// TestGrowingPartIsCutBySize: parts of a stream are as large as without it,
// their numbers rise, and a torn end goes to the part that it follows.
func TestGrowingPartIsCutBySize(t *testing.T) {
	g := newGarden(t)
	g.start()
	f := g.open("a.log")
	const size = 64<<10 + 16 // strictly past the limit
	var parts []string
	for i := range 3 {
		text := lines(10_000*i, size)
		parts = append(parts, text)
		g.write(f, text)
	}
	rest := lines(50_000, 20*growUnit)
	g.write(f, rest)
	g.eventually("all whole units are sent", func() bool { return g.sent("a.log") == 3*(size/growUnit*growUnit)+20*growUnit })
	g.write(f, "no end")
	g.publish(End)
	g.want(map[string]string{"0": parts[0], "1": parts[1], "2": parts[2], "3": rest + "no end"})
	g.clean()
}

// TestGrowingPartThatIsCutAnew: what the process before sent is aborted, and
// its number is not given again.
func TestGrowingPartThatIsCutAnew(t *testing.T) {
	g := newGarden(t)
	g.start()
	f := g.open("a.log")
	text := lines(0, 10*growUnit)
	g.write(f, text)
	g.eventually("all is sent", func() bool { return g.sent("a.log") == 10*growUnit })
	g.stop()
	old := g.uploads()
	if len(old) != 1 {
		t.Fatalf("uploads of the process that is gone: %v, want 1", old)
	}
	g.start()
	g.eventually("they are aborted", func() bool {
		for _, u := range g.uploads() {
			if u.ID == old[0].ID {
				return false
			}
		}
		return true
	})
	g.publish(Now)
	g.want(map[string]string{"1": text})
	g.clean()
	g.ahead.Store(int64(time.Hour))
	g.in.abortStrays(t.Context())
	if err := g.in.write(g.in.journal.Write); err != nil || g.journaled() != 0 {
		t.Errorf("the journal knows %d uploads, %v", g.journaled(), err)
	}
}

// TestGrowingPartExpires: a lifecycle rule takes what was sent, before and
// after the store is asked again.
func TestGrowingPartExpires(t *testing.T) {
	g := newGarden(t)
	g.start()
	f := g.open("a.log")
	text := lines(0, 10*growUnit)
	g.write(f, text)
	g.eventually("all is sent", func() bool { return g.sent("a.log") == 10*growUnit })
	g.store.Expire()
	more := lines(5000, 32)
	g.write(f, more)
	g.publish(Now)
	g.want(map[string]string{"0": text + more})
	g.clean()

	g.write(f, text)
	g.eventually("all is sent", func() bool { return g.sent("a.log") == 10*growUnit })
	g.store.Expire()
	g.write(f, text)
	g.eventually("all is sent again", func() bool { return g.sent("a.log") == 20*growUnit })
	g.publish(Now)
	if got := g.store.Objects(); len(got) != 2 {
		t.Errorf("%d objects, want 2", len(got))
	}
	g.clean()
}

// TestGrowingPartInAnOutage: what fails is given up, and begun again when the
// store is back; an upload that was begun without an answer goes too.
func TestGrowingPartInAnOutage(t *testing.T) {
	for _, lost := range []mem.Op{mem.Grow, mem.Append} {
		t.Run(string(lost), func(t *testing.T) {
			g := newGarden(t)
			var failed atomic.Bool
			g.fail(func(_ context.Context, op mem.Op, _ backend.Key) error {
				if op == lost && !failed.Swap(true) {
					return fmt.Errorf("down: %w", backend.ErrTransient)
				}
				return nil
			})
			g.start()
			f := g.open("a.log")
			text := lines(0, 10*growUnit)
			g.write(f, text)
			g.eventually("it failed", failed.Load)
			g.eventually("all is sent", func() bool { return g.sent("a.log") == 10*growUnit })
			g.publish(Now)
			g.want(map[string]string{"1": text}) // the number of the first is used up
			g.eventually("nothing is left", func() bool { return len(g.uploads()) == 0 })
			g.clean()
		})
	}
}

// switched sends records to the bucket that is set.
type switched struct{ bucket atomic.Pointer[string] }

func (a *switched) Assign([]byte, time.Time) string { return *a.bucket.Load() }
func (a *switched) ByRecord() bool                  { return false }

func (a *switched) set(bucket string) { a.bucket.Store(&bucket) }

// TestGrowingPartWithAGap: a bucket that comes back is one segment of two
// ranges, and what was sent of the first is given up.
func TestGrowingPartWithAGap(t *testing.T) {
	g := newGarden(t)
	buckets := &switched{}
	buckets.set("x")
	g.sink.Assigner = buckets
	g.start()
	f := g.open("a.log")
	first, between, last := lines(0, 10*growUnit), lines(2000, 32), lines(3000, 10*growUnit)
	g.write(f, first)
	g.eventually("all is sent", func() bool { return g.sent("a.log") == 10*growUnit })
	a, err := g.in.Lookup(g.in.Root(), "a.log")
	if err != nil {
		t.Fatal(err)
	}
	see := func() {
		t.Helper()
		s := g.in.source(a.Ino)
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, err := s.observe(g.in.now()); err != nil {
			t.Fatal(err)
		}
	}
	buckets.set("y")
	g.write(f, between)
	see()
	buckets.set("x")
	g.write(f, last)
	see()
	g.publish(Now)
	bodies := map[string]string{}
	for k, body := range g.store.Objects() {
		bodies[path.Dir(string(k))] = string(body)
	}
	if d := cmp.Diff(map[string]string{"x": first + last, "y": between}, bodies); d != "" {
		t.Errorf("buckets (-want +got)\n%s", d)
	}
	g.eventually("what was sent is given up", func() bool { return len(g.uploads()) == 0 })
	g.clean()
}

// TestCheckpointWhileGrowing: a checkpoint that comes while a piece is on its
// way waits for it and goes on behind it.
func TestCheckpointWhileGrowing(t *testing.T) {
	g := newGarden(t)
	reached, free := make(chan struct{}), make(chan struct{})
	var once sync.Once
	g.fail(func(_ context.Context, op mem.Op, _ backend.Key) error {
		if op == mem.Append {
			once.Do(func() {
				g.mu.Unlock()
				close(reached)
				<-free
				g.mu.Lock()
			})
		}
		return nil
	})
	g.start()
	f := g.open("a.log")
	text := lines(0, 40*growUnit)
	g.write(f, text)
	<-reached
	done := make(chan error, 1)
	go func() {
		_, err := g.in.Checkpoint(t.Context(), Now)
		done <- err
	}()
	g.eventually("the part is sealed", func() bool {
		return len(g.in.selectParts(func(p *part) bool { return p.State == journal.Pending })) == 1
	})
	close(free)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	g.want(map[string]string{"0": text})
	if n := g.count(mem.Grow); n != 1 {
		t.Errorf("%d uploads were begun, want 1", n)
	}
	g.clean()
}

// TestGrowingPartHasOneChecksum: what the part is said to hold is what the
// object does, which carries only what was known when it was begun.
func TestGrowingPartHasOneChecksum(t *testing.T) {
	g := newGarden(t)
	g.start()
	f := g.open("a.log")
	text := lines(0, 10*growUnit+16)
	g.write(f, text)
	g.eventually("whole units are sent", func() bool { return g.sent("a.log") == 10*growUnit })
	g.publish(Now)
	var found backend.Info
	for k := range g.store.Objects() {
		var err error
		if found, err = g.store.Stat(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	var p []PartStatus
	if err := g.in.Parts(func(s PartStatus) error { p = append(p, s); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(p) != 1 || p[0].Checksum != found.Checksum || p[0].Records != int64(bytes.Count([]byte(text), []byte("\n"))) {
		t.Errorf("the part is %+v, the object has %s and %d lines", p, found.Checksum, strings.Count(text, "\n"))
	}
	if found.Meta[MetaRanges] != "" || found.Meta[MetaRecords] != "" || found.Meta[MetaPart] != "0" {
		t.Errorf("the object says what nobody knew when it was begun: %v", found.Meta)
	}
}

// TestGrowingPartWaitsForANumber: the numbers of a source's parts rise with
// its records, so nothing is begun behind a segment that has none yet.
func TestGrowingPartWaitsForANumber(t *testing.T) {
	g := newGarden(t)
	g.start()
	f := g.open("a.log")
	first, second, third := lines(0, 160), lines(1000, 10*growUnit), lines(3000, 10*growUnit)
	a, err := g.in.Lookup(g.in.Root(), "a.log")
	if err != nil {
		t.Fatal(err)
	}
	s := g.in.source(a.Ino)
	g.write(f, first)
	g.eventually("it is seen", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.size() == int64(len(first))
	})
	g.in.roll(DefaultInterval, time.Now().Add(2*time.Minute)) // sealed, in no part
	g.write(f, second)
	g.eventually("it was looked for what can be sent", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.offered == int64(len(first)+len(second))
	})
	if n := g.count(mem.Grow); n != 0 {
		t.Errorf("%d uploads are begun", n)
	}
	g.publish(Policy) // the first only: the number is given
	g.write(f, third)
	g.eventually("all is sent", func() bool { return g.sent("a.log") == 20*growUnit })
	g.publish(Now)
	g.want(map[string]string{"0": first, "1": second + third})
	g.clean()
}

package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/lifecycle/audit"
)

// TestEveryRecordIsInExactlyOnePart drives an Instance and its restarts with
// random calls, against a store that fails before and after it did its work,
// and compares the records of all finished parts with those written.
func TestEveryRecordIsInExactlyOnePart(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, rt)
		defer w.close()
		rt.Repeat(map[string]func(*rapid.T){
			"":           w.check,
			"open":       w.open,
			"write":      w.write,
			"close":      w.closeOne,
			"rename":     w.rename,
			"truncate":   w.truncate,
			"unlink":     w.unlink,
			"checkpoint": w.checkpoint,
			"roll":       w.roll,
			"hour":       w.hour,
			"restart":    w.restart,
			"grow":       w.grow,
			"sweep":      w.sweep,
			"weather":    w.weather,
		})
		w.finish()
	})
}

// world is an Instance and what it should publish.
type world struct {
	t       *testing.T
	rt      *rapid.T
	dir     string
	store   backend.Store
	retain  int
	unknown []string // keys of whole files, of whose uploads nothing tells any more
	gone    []string // what is finished and was deleted since
	in      *Instance
	now     time.Time
	failing bool
	before  mem.Hook
	after   mem.Hook
	next    int
	writers []*writer
	sources map[uint64]*written // by inode, live
	records []string            // whole or torn, of all sources
}

type writer struct {
	ino uint64
	f   *os.File
}

// written is the record that a source has not ended.
type written struct {
	tail string
	size int64
}

func newWorld(t *testing.T, rt *rapid.T) *world {
	w := emptyWorld(t, rt)
	w.useMemory()
	w.start()
	return w
}

func emptyWorld(t *testing.T, rt *rapid.T) *world {
	dir, err := os.MkdirTemp("", "model")
	if err != nil {
		rt.Fatal(err)
	}
	return &world{t: t, rt: rt, dir: dir, now: time.Unix(1_700_000_000, 0), sources: map[uint64]*written{}}
}

// useMemory gives it a store that fails as the weather is.
func (w *world) useMemory() {
	hook := func(h *mem.Hook) mem.Hook {
		return func(ctx context.Context, op mem.Op, k backend.Key) error {
			if *h == nil {
				return nil
			}
			return (*h)(ctx, op, k)
		}
	}
	w.store = mem.New(mem.Options{
		Properties: backend.Properties{StageAbove: rapid.SampledFrom([]int64{30, 12, 5}).Draw(w.rt, "stage above")},
		Unit:       8, Before: hook(&w.before), After: hook(&w.after),
	})
}

func (w *world) config() Config {
	hours, err := NewDateTime("HH", time.UTC)
	if err != nil {
		w.rt.Fatal(err)
	}
	sink := DefaultSink()
	sink.Assigner, sink.Rolling.MaxPartSize = hours, 20
	alone := sink
	alone.Path, alone.Coalesce = "alone", false
	return Config{
		StateDir: w.dir, Store: w.store, Sinks: []Sink{sink, alone}, CommitTimeout: w.patience(), Retain: w.retain,
	}
}

// patience is short where what fails is to fail soon.
func (w *world) patience() time.Duration {
	if w.failing {
		return 20 * time.Millisecond
	}
	return 30 * time.Second
}

func (w *world) start() {
	var err error
	if w.in, err = Open(w.t.Context(), w.config()); err != nil {
		w.rt.Fatal(err)
	}
	if lost := w.in.Status().Lost; len(lost) > 0 {
		w.rt.Errorf("spool files that nobody removed are missed: %+v", lost)
	}
	w.in.now = func() time.Time { return w.now }
}

func (w *world) close() {
	for _, o := range w.writers {
		_ = o.f.Close()
	}
	if err := w.in.Close(); err != nil {
		w.rt.Error(err)
	}
	_ = os.RemoveAll(w.dir)
}

func (w *world) someDir(t *rapid.T) uint64 {
	if rapid.Bool().Draw(t, "alone") {
		return w.in.tree.Lookup(w.in.tree.Root(), "alone").ID().Ino
	}
	return w.in.Root()
}

func (w *world) open(t *rapid.T) {
	dir := w.someDir(t)
	name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
	a, err := w.in.Lookup(dir, name)
	if err != nil {
		if a, err = w.in.Create(dir, name, 0o644, Caller{}); err != nil {
			t.Fatal(err)
		}
		w.sources[a.Ino] = &written{}
	}
	if _, err := w.in.OpenFile(a.Ino, Use{Write: true}, Caller{}); err != nil {
		t.Fatal(err)
	}
	f, err := w.in.Descriptor(a.Ino, os.O_WRONLY|os.O_APPEND)
	if err != nil {
		t.Fatal(err)
	}
	w.writers = append(w.writers, &writer{a.Ino, f})
}

func (w *world) someWriter(t *rapid.T) *writer {
	if len(w.writers) == 0 {
		t.Skip("nobody writes")
	}
	return rapid.SampledFrom(w.writers).Draw(t, "writer")
}

func (w *world) write(t *rapid.T) {
	o := w.someWriter(t)
	s := w.sources[o.ino]
	var data []byte
	for range rapid.IntRange(1, 6).Draw(t, "pieces") {
		w.next++
		data = fmt.Append(data, w.next, strings.Repeat("x", rapid.IntRange(0, 12).Draw(t, "more")))
		if rapid.IntRange(0, 3).Draw(t, "ends") > 0 {
			data = append(data, '\n')
		}
	}
	if _, err := o.f.Write(data); err != nil {
		t.Fatal(err)
	}
	s.size += int64(len(data))
	whole := bytes.LastIndexByte(data, '\n') + 1
	for _, r := range strings.SplitAfter(s.tail+string(data[:whole]), "\n") {
		if whole > 0 && r != "" {
			w.records = append(w.records, r)
		}
	}
	if whole > 0 {
		s.tail = ""
	}
	s.tail += string(data[whole:])
}

// torn ends the record that a source has not ended.
func (w *world) torn(s *written) {
	if s.tail != "" {
		w.records = append(w.records, s.tail)
		s.tail = ""
	}
}

func (w *world) closeOne(t *rapid.T) {
	o := w.someWriter(t)
	w.writers = slices.DeleteFunc(w.writers, func(x *writer) bool { return x == o })
	if err := o.f.Close(); err != nil {
		t.Fatal(err)
	}
	w.in.Flushed(o.ino)
	w.in.ReleaseFile(o.ino, Use{Write: true})
}

func (w *world) writes(ino uint64) bool {
	return slices.ContainsFunc(w.writers, func(o *writer) bool { return o.ino == ino })
}

func (w *world) rename(t *rapid.T) {
	dir := w.someDir(t)
	from := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "from")
	to := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "to")
	if _, err := w.in.Lookup(dir, from); err != nil {
		t.Skip("no such name")
	}
	if err := w.in.Rename(w.t.Context(), dir, from, dir, to, false); err != nil {
		t.Fatal(err)
	}
}

func (w *world) truncate(t *rapid.T) {
	o := w.someWriter(t)
	a, err := w.in.Truncate(o.ino, 0)
	if err != nil || a.Size != 0 {
		t.Fatal(a.Size, err)
	}
	w.torn(w.sources[o.ino])
}

func (w *world) unlink(t *rapid.T) {
	dir := w.someDir(t)
	name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
	if err := w.in.Unlink(dir, name); err != nil && !w.isMissing(dir, name) {
		t.Fatal(err)
	}
}

func (w *world) isMissing(dir uint64, name string) bool {
	_, err := w.in.Lookup(dir, name)
	return err != nil
}

func (w *world) checkpoint(t *rapid.T) {
	trigger := rapid.SampledFrom([]Trigger{Now, Policy, Timer, Unmount}).Draw(t, "trigger")
	c, err := w.in.checkpoint(w.t.Context(), trigger)
	if err != nil && (!w.failing || !errors.Is(err, ErrIncomplete)) {
		t.Fatal(err)
	}
	if trigger == Now || trigger == Unmount {
		w.settleTails()
	}
	if err == nil && trigger == Now {
		w.compare(t, w.whole())
	}
	_ = c
}

// settleTails ends the records of sources that nobody writes: a checkpoint
// published them as they are.
func (w *world) settleTails() {
	for ino, s := range w.sources {
		if !w.writes(ino) {
			w.torn(s)
		}
	}
}

// whole are the records that a checkpoint of everything must have published.
func (w *world) whole() []string { return w.records }

func (w *world) roll(*rapid.T) {
	w.now = w.now.Add(time.Minute)
	w.in.roll(DefaultInterval, w.now)
	for ino, s := range w.sources {
		if src := w.in.source(ino); src == nil {
			continue
		} else if src.cut != nil && src.cut.tail() == 0 && s.tail != "" {
			w.torn(s) // inactive for a minute and nobody writes
		}
	}
}

func (w *world) hour(*rapid.T) { w.now = w.now.Add(time.Hour) }

func (w *world) restart(t *rapid.T) {
	if err := w.in.Close(); err != nil {
		t.Fatal(err)
	}
	w.start()
	for _, o := range w.writers {
		if err := w.in.Adopt(o.ino, Use{Write: true}); err != nil {
			t.Fatal(err)
		}
	}
}

// grow sends what can be sent of parts that are not sealed.
func (w *world) grow(t *rapid.T) {
	for _, s := range w.in.allSources() {
		if err := w.in.growSource(w.t.Context(), s); err != nil && !w.failing {
			t.Fatal(err)
		}
	}
}

// sweep aborts what was given up of them.
func (w *world) sweep(*rapid.T) { w.in.abortStrays(w.t.Context()) }

// swept has nothing left of uploads once gc has run.
func (w *world) swept() {
	later := time.Now().Add(time.Hour) // what a restart found has been given time
	w.in.now = func() time.Time { return later }
	w.in.abortStrays(w.t.Context())
	if n := len(w.in.strays); n > 0 {
		w.rt.Fatalf("%d uploads are not given up", n)
	}
	if err := w.in.write(w.in.journal.Write); err != nil {
		w.rt.Fatal(err)
	}
	in := audit.Input{Store: w.store, State: func(context.Context) (audit.State, error) { return w.in.Account() }}
	rows, err := audit.Garbage(w.t.Context(), in)
	if err != nil {
		w.rt.Fatal(err)
	}
	for _, r := range rows {
		if err := audit.Remove(w.t.Context(), in, r); err != nil {
			w.rt.Fatal(err)
		}
	}
	lister, ok := w.store.(backend.UploadLister)
	if !ok {
		return
	}
	if err := lister.Uploads(w.t.Context(), "", func(u backend.Upload) error {
		if slices.Contains(w.unknown, string(u.Key)) {
			return nil
		}
		return fmt.Errorf("the upload %s of %q is left", u.ID, u.Key)
	}); err != nil {
		w.rt.Fatal(err)
	}
}

// weather makes the store fail, or work again.
func (w *world) weather(t *rapid.T) {
	kind := rapid.SampledFrom([]string{"good", "before", "after", "gone"}).Draw(t, "weather")
	w.failing = kind != "good"
	w.in.cfg.CommitTimeout = w.patience()
	fail := func(_ context.Context, op mem.Op, _ backend.Key) error {
		switch op {
		case mem.Put, mem.Commit, mem.Stage, mem.Grow, mem.Append, mem.Abort:
			return fmt.Errorf("%s: %w", op, backend.ErrTransient)
		}
		return nil
	}
	switch kind {
	case "good":
		w.before, w.after = nil, nil
	case "before":
		w.before, w.after = fail, nil
	case "after":
		w.before, w.after = nil, fail
	case "gone":
		w.after = nil
		w.before = func(_ context.Context, op mem.Op, _ backend.Key) error {
			if op == mem.Commit || op == mem.Append {
				return fmt.Errorf("%s: %w", op, backend.ErrGone)
			}
			return nil
		}
	}
}

// check holds at any instant: nothing twice, nothing that was not written.
func (w *world) check(t *rapid.T) {
	count := map[string]int{}
	for _, r := range w.records {
		count[r]++
	}
	for _, s := range w.sources {
		if s.tail != "" {
			count[s.tail]++
		}
	}
	for _, r := range w.published() {
		if count[r]--; count[r] < 0 {
			for _, p := range w.in.recent {
				t.Logf("part %d of checkpoint %d: %s %v", p.Part, p.Checkpoint, p.Key, p.Sources)
			}
			t.Fatalf("%q is published and was not written, or not so often", r)
		}
	}
}

func (w *world) published() []string {
	var out []string
	take := func(_ backend.Key, content string) {
		for _, r := range strings.SplitAfter(content, "\n") {
			if r != "" {
				out = append(out, r)
			}
		}
	}
	walk(w.t, w.store, "", take)
	for _, content := range w.gone {
		take("", content)
	}
	return out
}

func (w *world) compare(t *rapid.T, want []string) {
	got := w.published()
	want = slices.Clone(want)
	slices.Sort(got)
	slices.Sort(want)
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("records differ (-written +published):\n%s", d)
	}
}

func (w *world) finish() {
	w.before, w.after, w.failing = nil, nil, false
	w.in.cfg.CommitTimeout = w.patience()
	for len(w.writers) > 0 {
		o := w.writers[0]
		w.writers = w.writers[1:]
		_ = o.f.Close()
		w.in.ReleaseFile(o.ino, Use{Write: true})
	}
	if _, err := w.in.checkpoint(w.t.Context(), Unmount); err != nil {
		w.rt.Fatal(err)
	}
	w.settleTails()
	w.compare(w.rt, w.records)
	if n := w.in.Unpublished().Bytes; n != 0 {
		w.rt.Fatalf("%d bytes count as unpublished", n)
	}
	w.swept()
}

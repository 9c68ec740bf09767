//go:build faults

package lifecycle

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/format"
	"github.com/sinkfs/sinkfs/internal/fault"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// TestFaultChaos drives an Instance with random programs, kills, full disks,
// lost journals, and a store that fails or where others write, and compares
// what is published with a model of docs/SEMANTICS.md. With -rapid.checks 5000
// it goes on for an hour.
func TestFaultChaos(t *testing.T) {
	setDefaultFlag(t, "rapid.checks", "15")
	setDefaultFlag(t, "rapid.steps", "100")
	rapid.Check(t, func(rt *rapid.T) {
		w := newChaos(t, rt)
		defer w.close()
		rt.Repeat(map[string]func(*rapid.T){"step": w.step})
		w.finish()
	})
}

// chaos is an Instance, and what programs did to it.
type chaos struct {
	t     *testing.T
	rt    *rapid.T
	c     Config
	in    *Instance
	store *mem.Store
	sky   *sky
	now   time.Time

	ids       int // of names and of texts
	dirs      []string
	outputs   []*output
	scraps    []*scrap
	bytes     int      // written to streams
	discarded []string // texts of files that were replaced or removed

	expires bool    // names of streams go after a source_ttl
	cuts    bool    // at max_record, also inside of scraps
	trouble trouble // after it, parts may be in another order
}

// trouble is rare.
type trouble string

const (
	crowd trouble = "others write to the target"
	loss  trouble = "the journal is lost"
)

// action is what can happen, and how often compared with others.
type action struct {
	name   string
	weight int
	do     func(*chaos)
}

// GoString is what rapid prints of it.
func (a action) GoString() string { return a.name }

// programs act while a checkpoint runs, too.
var programs = deck([]action{
	{"create", 3, (*chaos).create},
	{"append", 4, (*chaos).append},
	{"truncate", 1, (*chaos).truncate},
	{"rewrite", 1, (*chaos).rewrite},
	{"unlink", 1, (*chaos).unlink},
	{"rename", 2, (*chaos).rename},
	{"keep house", 2, (*chaos).keepHouse},
})

var everything = append(deck([]action{
	{"checkpoint", 8, (*chaos).checkpoint},
	{"kill", 2, (*chaos).killRepeatedly},
	{"pass time", 1, (*chaos).passTime},
	{"mkdir", 1, (*chaos).mkdir},
	{"rename a directory", 1, (*chaos).renameDir},
	{"write to the target", 1, (*chaos).intrude},
}), programs...)

// deck holds each action as often as it weighs.
func deck(actions []action) []action {
	var d []action
	for _, a := range actions {
		for range a.weight {
			d = append(d, a)
		}
	}
	return d
}

func newChaos(t *testing.T, rt *rapid.T) *chaos {
	dir, err := os.MkdirTemp("", "chaos")
	if err != nil {
		rt.Fatal(err)
	}
	w := &chaos{
		t: t, rt: rt, now: time.Now(), dirs: []string{""},
		expires: rapid.Bool().Draw(rt, "expires"), cuts: rapid.IntRange(1, 6).Draw(rt, "cuts") == 6,
		trouble: rapid.SampledFrom([]trouble{"", "", crowd, loss}).Draw(rt, "trouble"),
	}
	w.sky = newSky(rapid.Uint64().Draw(rt, "sky"), w.trouble == crowd)
	w.store = mem.New(mem.Options{
		Properties: backend.Properties{StageAbove: rapid.SampledFrom([]int64{5, 20, 1 << 20}).Draw(rt, "stage above"), Parallel: 1},
		Unit:       rapid.SampledFrom([]int64{8, 0}).Draw(rt, "unit"), Before: w.before, After: w.after,
	})
	logs, files := streamSink(), fileSink()
	logs.Whole, logs.Temporary = []string{"*.gz"}, []string{"*.tmp"}
	files.Path, files.Temporary = "files", []string{"*.tmp"}
	logs.Coalesce = rapid.Bool().Draw(rt, "coalesce")
	logs.Rolling.MaxPartSize = rapid.SampledFrom([]int64{10, 40, 1 << 20}).Draw(rt, "max part size")
	if w.cuts {
		logs.Format.Records = format.Lines{Max: 7}
	}
	w.c = Config{
		Store: w.store, StateDir: dir, Sinks: []Sink{logs, files}, CommitTimeout: 20 * time.Millisecond,
		Retain: rapid.IntRange(2, 5).Draw(rt, "retain"), entries: rapid.SampledFrom([]int{2, 1, 3, 0}).Draw(rt, "entries"),
	}
	if w.expires {
		w.c.SourceTTL = time.Hour
	}
	w.start()
	w.mkdir()
	w.mkdir()
	return w
}

func (w *chaos) step(*rapid.T) {
	w.act(everything)
	select {
	case <-w.in.journal.Broken():
		w.kill()
	default:
	}
}

func (w *chaos) act(of []action) { rapid.SampledFrom(of).Draw(w.rt, "action").do(w) }

// someActions of programs.
func (w *chaos) someActions() {
	for range rapid.IntRange(0, 12).Draw(w.rt, "actions") {
		w.act(programs)
	}
}

func (w *chaos) oneIn(n int, what string) bool {
	return rapid.IntRange(1, n).Draw(w.rt, what) == n
}

// id is a number that is used once.
func (w *chaos) id() int {
	w.ids++
	return w.ids
}

// clock makes all instants different.
func (w *chaos) clock() time.Time {
	w.sky.mu.Lock()
	defer w.sky.mu.Unlock()
	w.now = w.now.Add(time.Microsecond)
	return w.now
}

// must not fail. Only what is the same each time is in the words of a failure,
// so that rapid can find the shortest way to it.
func (w *chaos) must(what string, err error) {
	w.rt.Logf("%s: %v", what, err)
	if err != nil {
		w.rt.Fatalf("%s failed", what)
	}
}

// allowed says whether a program's call succeeded. It may fail for a fault, or
// because a checkpoint has the file.
func (w *chaos) allowed(what string, err error) bool {
	w.rt.Logf("%s: %v", what, err)
	for _, kind := range []error{nil, fault.ErrInjected, journal.ErrFull, journal.ErrBroken, ErrFinished, ErrHoldsFinished, ErrExist} {
		if errors.Is(err, kind) {
			return err == nil
		}
	}
	w.rt.Fatalf("%s failed", what)
	return false
}

func (w *chaos) start() {
	var err error
	w.in, err = Open(w.t.Context(), w.c)
	w.must("the next mount", err)
	w.in.now = w.clock
	if lost := w.in.Status().Lost; len(lost) > 0 {
		w.rt.Fatalf("%d spool files that nobody removed are missed", len(lost))
	}
	for _, o := range w.outputs {
		if o.f != nil && w.in.source(o.ino) == nil {
			w.rt.Fatalf("the stream %s is gone though it is open", o.path)
		}
	}
}

// kill ends the process, and perhaps its journal. Descriptors are handed to the
// next, or closed.
func (w *chaos) kill() {
	fault.Arm("")
	_ = w.in.Close() // journals nothing
	if w.trouble == loss && w.oneIn(4, "lose the journal") {
		w.must("lose the journal", os.RemoveAll(filepath.Join(w.c.StateDir, "journal")))
		_, err := Rebuild(w.t.Context(), w.c, RebuildOptions{})
		w.must("rebuild", err)
	}
	for _, o := range w.outputs {
		if o.f != nil && w.oneIn(2, "closed by the kill") {
			_ = o.f.Close()
			o.f = nil
		}
	}
	w.start()
	for _, o := range w.outputs {
		if o.f != nil {
			w.must("adopt", w.in.Adopt(o.ino, Use{Write: true}))
		}
	}
}

// killRepeatedly kills it, and again on the way of the next checkpoint.
func (w *chaos) killRepeatedly() {
	w.kill()
	for w.oneIn(3, "again") {
		_, err := w.in.prepare(w.t.Context(), Now)
		w.rt.Logf("prepare before a kill: %v", err)
		w.kill()
	}
}

func (w *chaos) close() {
	fault.Arm("")
	for _, o := range w.outputs {
		if o.f != nil {
			_ = o.f.Close()
		}
	}
	_ = w.in.Close()
	_ = os.RemoveAll(w.c.StateDir)
}

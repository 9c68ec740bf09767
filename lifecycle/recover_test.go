package lifecycle

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/lifecycle/audit"
)

// TestSpoolFileThatWasCut: appended to, it would hold new bytes where the
// journal has older ones as finished, and they would never be published.
func TestSpoolFileThatWasCut(t *testing.T) {
	store := mem.New(mem.Options{})
	c := Config{Store: store, StateDir: t.TempDir()}
	file := filepath.Join(c.StateDir, "spool", "tree", "a.log")
	session := func(append string) {
		in, err := Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close() //nolint:errcheck // the next one would say it
		if in.tree.Lookup(in.tree.Root(), "a.log") == nil {
			create(t, in, "a.log")
		}
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() //nolint:errcheck // written without a buffer
		if _, err := f.WriteString(append); err != nil {
			t.Fatal(err)
		}
		if _, err := in.checkpoint(t.Context(), Now); err != nil {
			t.Fatal(err)
		}
	}
	session("one\ntwo\n")
	if err := os.Truncate(file, 3); err != nil {
		t.Fatal(err)
	}
	in, err := Open(t.Context(), c)
	if !errors.Is(err, ErrState) || !strings.Contains(err.Error(), "'truncate -s 8'") {
		if in != nil {
			_ = in.Close()
		}
		t.Fatalf("opened with a file that was cut: %v, want ErrState and what to do", err)
	}
	if err := os.Truncate(file, 8); err != nil {
		t.Fatal(err)
	}
	session("three\n")
	var got string
	walk(t, store, "", func(_ backend.Key, content string) { got += content })
	if want := "one\ntwo\nthree\n"; got != want {
		t.Errorf("published %q, want %q", got, want)
	}
}

// TestJournalOfAnOlderDay: a copy of the journal that somebody put back, with the
// anchor in it, would publish again what came after it.
func TestJournalOfAnOlderDay(t *testing.T) {
	c := Config{Store: mem.New(mem.Options{}), StateDir: t.TempDir()}
	session := func(text string) {
		in, err := Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close() //nolint:errcheck // the next one would say it
		put(t, in, text+".log", text+"\n")
		if _, err := in.checkpoint(t.Context(), Now); err != nil {
			t.Fatal(err)
		}
	}
	current, copied := filepath.Join(c.StateDir, "journal"), filepath.Join(t.TempDir(), "copy")
	session("one")
	if err := os.CopyFS(copied, os.DirFS(current)); err != nil {
		t.Fatal(err)
	}
	session("two")
	if err := errors.Join(os.RemoveAll(current), os.CopyFS(current, os.DirFS(copied))); err != nil {
		t.Fatal(err)
	}
	if in, err := Open(t.Context(), c); !errors.Is(err, ErrState) || !strings.Contains(err.Error(), "checkpoint 2") {
		if in != nil {
			_ = in.Close()
		}
		t.Errorf("opened with an old journal: %v, want ErrState and what it does not know", err)
	}
	if err := SetManifestsAside(c.StateDir); err != nil {
		t.Fatal(err)
	}
	session("three") // who restores a backup wants that
}

// TestSpoolFileRemovedByHand is told, again at each start, until the ttl has
// passed; what we removed ourselves is not.
func TestSpoolFileRemovedByHand(t *testing.T) {
	c := Config{Store: mem.New(mem.Options{}), StateDir: t.TempDir(), SourceTTL: time.Hour}
	session := func(lost, problems int, do func(in *Instance)) {
		t.Helper()
		in, err := Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close() //nolint:errcheck // the next one would say it
		st := in.Status()
		if len(st.Lost) != lost || lost > 0 && (st.Lost[0].Path != "a.log" || st.Lost[0].Published != 4 || !strings.Contains(st.LastError, `"a.log"`)) {
			t.Errorf("lost %+v, last error %q; want %d", st.Lost, st.LastError, lost)
		}
		account, err := in.Account()
		if err != nil {
			t.Fatal(err)
		}
		report, err := audit.Fsck(t.Context(), audit.Input{Store: c.Store, State: audit.Fixed(account)})
		if err != nil || report.Problems != int64(problems) {
			t.Errorf("fsck: %d problems, %v; want %d", report.Problems, err, problems)
		}
		do(in)
	}
	publish := func(in *Instance) {
		if _, err := in.checkpoint(t.Context(), Now); err != nil {
			t.Fatal(err)
		}
	}
	session(0, 0, func(in *Instance) {
		for _, name := range []string{"a.log", "ours.log", "later.log"} {
			writeOnce(t, in, name, "one\n")
		}
		publish(in)
		for _, name := range []string{"ours.log", "later.log"} {
			if err := in.Unlink(in.Root(), name); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range in.allSources() {
			in.look(s)
		}
		in.clean() // takes ours away; the journal does not forget it yet
	})
	if err := os.Remove(filepath.Join(c.StateDir, "spool", "tree", "a.log")); err != nil {
		t.Fatal(err)
	}
	session(1, 1, publish)
	session(1, 1, func(*Instance) {})
	c.SourceTTL = time.Nanosecond
	session(0, 1, func(in *Instance) { in.clean(); publish(in) })
	c.SourceTTL = time.Hour
	session(0, 0, func(*Instance) {})
}

// TestSourceTTLOverARestart: a name stays for source_ttl after its last byte was
// finished, also when an outage was longer than that and a restart follows.
func TestSourceTTLOverARestart(t *testing.T) {
	const ttl = 400 * time.Millisecond
	c := Config{Store: putStore(), Sinks: []Sink{streamSink()}, SourceTTL: ttl}
	in := killable(t, &c)
	appendOnce(t, in, create(t, in, "a.log"), "one\n")
	time.Sleep(ttl + 50*time.Millisecond) // an outage
	publish(t, in)
	finished := time.Now()
	in = reopen(t, in, c)
	in.clean()
	if _, err := in.Lookup(in.Root(), "a.log"); err != nil && time.Since(finished) < ttl {
		t.Errorf("%v after it was finished: %v", time.Since(finished), err)
	}
}

// TestAgesAreMonotonic: what a restart found is as old as it is, whatever becomes
// of the clock.
func TestAgesAreMonotonic(t *testing.T) {
	c := Config{Store: putStore(), Sinks: []Sink{streamSink()}}
	in := killable(t, &c)
	appendOnce(t, in, create(t, in, "a.log"), "one\n")
	put(t, in, "b.gz", "file")
	in = reopen(t, in, c)
	for _, s := range in.allSources() {
		if !strings.Contains(s.touched.String(), "m=") {
			t.Errorf("%s: touched %v", s.node.Path(), s.touched)
		}
		for _, g := range s.cut.segmentsOrNone() {
			if !strings.Contains(g.born.String(), "m=") {
				t.Errorf("%s: born %v", s.node.Path(), g.born)
			}
		}
	}
}

func (c *cutter) segmentsOrNone() []segment {
	if c == nil {
		return nil
	}
	return c.segments()
}

// TestFirstContactIsTriedAgain: a target that was never reached and fails for a
// moment is no error, one that refuses is at once.
func TestFirstContactIsTriedAgain(t *testing.T) {
	for _, test := range []struct {
		says  error
		times int
		fails bool
	}{{backend.ErrTransient, 2, false}, {backend.ErrTransient, 1 << 30, true}, {backend.ErrPermission, 2, true}} {
		asked := 0
		store := mem.New(mem.Options{Before: func(_ context.Context, op mem.Op, _ backend.Key) error {
			if op != mem.Check {
				return nil
			}
			if asked++; asked > test.times {
				return nil
			}
			return test.says
		}})
		in, err := Open(t.Context(), Config{StateDir: t.TempDir(), Store: store})
		if err == nil {
			err = in.Close()
		}
		if test.fails != errors.Is(err, ErrTarget) || !test.fails && err != nil {
			t.Errorf("%v %d times: %v", test.says, test.times, err)
		}
		if errors.Is(test.says, backend.ErrPermission) && asked != 1 {
			t.Errorf("a refusal was asked for %d times, want once", asked)
		}
	}
}

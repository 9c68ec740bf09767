//go:build faults

package lifecycle

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/internal/fault"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// inject runs the rest of the test in a process of its own, with that fault.
func inject(t *testing.T, what string) (inside bool) {
	t.Helper()
	if os.Getenv(fault.Env) != "" {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), fault.Env+"="+what)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	return false
}

// TestFaultTruncateBeforeFinished: a mark that is journaled behind "finished"
// does not take that back.
func TestFaultTruncateBeforeFinished(t *testing.T) {
	if !inject(t, "journal.commit=delay:300ms@4") {
		return
	}
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}})
	c := Config{Store: store, StateDir: t.TempDir(), Sinks: []Sink{stream()}}
	in, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ino := create(t, in, "a.log")
	if _, err := in.OpenFile(ino, Use{Write: true}, Caller{}); err != nil {
		t.Fatal(err)
	}
	appendTo(t, in, ino, "one\ntwo")
	var wg sync.WaitGroup
	wg.Go(func() {
		cp, err := in.checkpoint(t.Context(), Now)
		t.Logf("checkpoint: %s %v", cp.State, err)
	})
	time.Sleep(150 * time.Millisecond) // the journal is at it
	if _, err := in.Truncate(ino, 0); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if _, err := in.prepare(t.Context(), Now); err != nil { // the next checkpoint, killed on its way
		t.Fatal(err)
	}
	in = reopen(t, in, c)
	if _, err := in.checkpoint(t.Context(), Now); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(all(t, store), "one\n"); n != 1 {
		t.Errorf("one is published %d times", n)
	}
}

// TestFaultTruncateWhileFinishing: "finished" that is journaled behind a mark
// does not take that back.
func TestFaultTruncateWhileFinishing(t *testing.T) {
	if !inject(t, "finish.mark=delay:300ms") {
		return
	}
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}})
	c := Config{Store: store, StateDir: t.TempDir(), Sinks: []Sink{stream()}}
	in, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ino := create(t, in, "a.log")
	if _, err := in.OpenFile(ino, Use{Write: true}, Caller{}); err != nil {
		t.Fatal(err)
	}
	appendTo(t, in, ino, "one\ntwo")
	var wg sync.WaitGroup
	wg.Go(func() {
		cp, err := in.checkpoint(t.Context(), Now)
		t.Logf("checkpoint: %s %v", cp.State, err)
	})
	time.Sleep(150 * time.Millisecond)
	if _, err := in.Truncate(ino, 0); err != nil {
		t.Fatal(err)
	}
	appendTo(t, in, ino, "three\n")
	wg.Wait()
	in = reopen(t, in, c)
	if _, err := in.checkpoint(t.Context(), Now); err != nil {
		t.Fatal(err)
	}
	if got := all(t, store); strings.Contains(got, "twothree") {
		t.Errorf("the record before the truncation was joined with the one after")
	}
}

// TestFaultSealCutShort: of a seal of many parts the journal may have any
// beginning after a kill.
func TestFaultSealCutShort(t *testing.T) {
	if !inject(t, "journal.commit=error@2") {
		return
	}
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}})
	s := stream()
	s.Coalesce = false
	c := Config{Store: store, StateDir: t.TempDir(), Sinks: []Sink{s}}
	in, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	const sources = 1000
	for i := range sources {
		appendTo(t, in, create(t, in, fmt.Sprintf("%04d.log", i)), fmt.Sprintf("line %04d\n", i))
	}
	_, err = in.checkpoint(t.Context(), Now)
	t.Logf("checkpoint that is killed: %v", err)
	in = reopen(t, in, c)
	t.Logf("%d parts recovered, next part id %d", len(in.parts), in.counters[partIDs])
	cp, err := in.checkpoint(t.Context(), Now)
	t.Logf("checkpoint: %s, %d parts, left out %v, failed %v, %v; unpublished %+v", cp.State, cp.Parts, cp.LeftOut, cp.Failed, err, in.Unpublished())
	got := map[string]int{}
	for _, b := range store.Objects() {
		for line := range strings.Lines(string(b)) {
			got[line]++
		}
	}
	missing := 0
	for i := range sources {
		if got[fmt.Sprintf("line %04d\n", i)] != 1 {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("the checkpoint succeeded, %d of %d lines are not published exactly once", missing, sources)
	}
}

// TestFaultFinishFailsOnce: what ends late for want of room in the journal has
// its manifest too.
func TestFaultFinishFailsOnce(t *testing.T) {
	if !inject(t, "finish.parts=error") {
		return
	}
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}})
	c := Config{Store: store, StateDir: t.TempDir(), Sinks: []Sink{stream()}, Target: "mem"}
	in, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ino := create(t, in, "a.log")
	appendTo(t, in, ino, "one\n")
	cp, err := in.checkpoint(t.Context(), Now)
	t.Logf("checkpoint: %d %s %v", cp.ID, cp.State, err)
	if !in.commitLeft(t.Context()) {
		t.Fatal("something is left")
	}
	m, merr := in.Manifest(1)
	t.Logf("manifest 1: %d files, %v", len(m.Files), merr)
	appendTo(t, in, ino, "two\n")
	if _, err = in.checkpoint(t.Context(), Now); err != nil {
		t.Fatal(err)
	}
	m2, merr := in.Manifest(2)
	t.Logf("manifest 2: %d files, previous %d, %v", len(m2.Files), m2.Previous, merr)
	_ = in.journal.Load(func(r journal.Record) error {
		if c, ok := r.(journal.Checkpoint); ok {
			t.Logf("journal: checkpoint %d is %s", c.ID, c.State)
		}
		return nil
	})
	if len(m.Files) != 1 {
		t.Errorf("checkpoint 1 published a part that no manifest has")
	}
	// A reader takes what was announced, then the journal is lost.
	for k, b := range store.Objects() {
		if string(b) == "one\n" {
			_ = store.Delete(t.Context(), k)
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(c.StateDir, "journal")); err != nil {
		t.Fatal(err)
	}
	r, err := Rebuild(t.Context(), c, RebuildOptions{})
	t.Logf("rebuild: %+v %v", r.Sources, err)
	if err == nil && r.Sources[0].Unfinished > 0 {
		t.Errorf("the rebuild publishes %d bytes again and does not refuse", r.Sources[0].Unfinished)
	}
}

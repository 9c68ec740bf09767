//go:build faults

package lifecycle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/internal/fault"
)

// arm has a fault happen from here on: its hits count from now.
func arm(t *testing.T, what string) {
	t.Helper()
	fault.Arm(what)
	t.Cleanup(func() { fault.Arm("") })
}

// truncatedInACheckpoint is a stream of one whole record and a torn one, which
// is truncated while a fault delays a checkpoint.
func truncatedInACheckpoint(t *testing.T, c *Config, delay string) (in *Instance, ino uint64, ended <-chan error) {
	t.Helper()
	c.Sinks = []Sink{streamSink()}
	in = killable(t, c)
	ino = create(t, in, "a.log")
	openFor(t, in, ino, Use{Write: true})
	appendOnce(t, in, ino, "one\ntwo")
	arm(t, delay)
	done := make(chan error, 1)
	go func() {
		_, err := in.checkpoint(t.Context(), Now)
		done <- err
	}()
	for in.recording.TryLock() { // until the checkpoint writes what is finished
		in.recording.Unlock()
		time.Sleep(time.Millisecond)
	}
	if _, err := in.Truncate(ino, 0); err != nil {
		t.Fatal(err)
	}
	return in, ino, done
}

// TestFaultTruncateBeforeFinished: a mark that is journaled behind "finished"
// does not take that back.
func TestFaultTruncateBeforeFinished(t *testing.T) {
	store := putStore()
	c := Config{Store: store}
	in, _, ended := truncatedInACheckpoint(t, &c, "journal.commit=delay:300ms@3")
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if _, err := in.prepare(t.Context(), Now); err != nil { // the next checkpoint, killed on its way
		t.Fatal(err)
	}
	publish(t, reopen(t, in, c))
	if n := strings.Count(published(store), "one\n"); n != 1 {
		t.Errorf("one is published %d times", n)
	}
}

// TestFaultTruncateWhileFinishing: "finished" that is journaled behind a mark
// does not take that back.
func TestFaultTruncateWhileFinishing(t *testing.T) {
	store := putStore()
	c := Config{Store: store}
	in, ino, ended := truncatedInACheckpoint(t, &c, "finish.mark=delay:300ms")
	appendOnce(t, in, ino, "three\n")
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	publish(t, reopen(t, in, c))
	if got := published(store); strings.Contains(got, "twothree") {
		t.Errorf("published %q", got)
	}
}

// TestFaultSealCutShort: of a seal of many parts the journal may have any
// beginning after a kill.
func TestFaultSealCutShort(t *testing.T) {
	store := putStore()
	s := streamSink()
	s.Coalesce = false
	c := Config{Store: store, Sinks: []Sink{s}}
	in := killable(t, &c)
	const sources = 1000
	for i := range sources {
		appendOnce(t, in, create(t, in, fmt.Sprintf("%04d.log", i)), fmt.Sprintf("line %04d\n", i))
	}
	arm(t, "journal.commit=error")
	if _, err := in.checkpoint(t.Context(), Now); err == nil {
		t.Fatal("the checkpoint was not cut short")
	}
	publish(t, reopen(t, in, c))
	bodies := published(store)
	for i := range sources {
		if n := strings.Count(bodies, fmt.Sprintf("line %04d\n", i)); n != 1 {
			t.Errorf("line %d is published %d times", i, n)
		}
	}
}

// TestFaultFinishFailsOnce: what ends late for want of room in the journal has
// its manifest too.
func TestFaultFinishFailsOnce(t *testing.T) {
	arm(t, "finish.parts=error")
	store := putStore()
	c := Config{Store: store, Sinks: []Sink{streamSink()}, Target: "mem"}
	in := killable(t, &c)
	ino := create(t, in, "a.log")
	appendOnce(t, in, ino, "one\n")
	if _, err := in.checkpoint(t.Context(), Now); err == nil {
		t.Fatal("the checkpoint did not fail")
	}
	if !in.commitLeft(t.Context()) {
		t.Fatal("something is left")
	}
	m, err := in.Manifest(1)
	if err != nil || len(m.Files) != 1 {
		t.Errorf("the manifest of checkpoint 1 has %d files, %v", len(m.Files), err)
	}
	appendOnce(t, in, ino, "two\n")
	publish(t, in)
	takeOne(t, store) // a reader takes what was announced, then the journal is lost
	if err := errors.Join(in.Close(), os.RemoveAll(filepath.Join(c.StateDir, "journal"))); err != nil {
		t.Fatal(err)
	}
	if r, err := Rebuild(t.Context(), c, RebuildOptions{}); err == nil && r.Sources[0].Unfinished > 0 {
		t.Errorf("the rebuild publishes %d bytes again and does not refuse", r.Sources[0].Unfinished)
	}
}

// takeOne removes the object of the first record.
func takeOne(t *testing.T, store *mem.Store) {
	t.Helper()
	for k, body := range store.Objects() {
		if string(body) == "one\n" {
			if err := store.Delete(t.Context(), k); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestFaultFinishCutShort: of what a checkpoint finished the journal may have
// any beginning after a kill, and after another.
func TestFaultFinishCutShort(t *testing.T) {
	store := putStore()
	c := Config{Store: store, Sinks: []Sink{streamSink()}}
	in := killable(t, &c)
	const sources = 2000
	for i := range sources {
		appendOnce(t, in, create(t, in, fmt.Sprintf("%04d.log", i)), fmt.Sprintf("line %04d\n", i))
	}
	arm(t, "journal.commit=error@3")
	if c, err := in.checkpoint(t.Context(), Now); err == nil {
		t.Fatalf("cut at another place: %v %v", c.State, err)
	}
	in = reopen(t, in, c)
	appendOnce(t, in, create(t, in, "more.log"), "more\n")
	if _, err := in.prepare(t.Context(), Now); err != nil { // killed on its way
		t.Fatal(err)
	}
	publish(t, reopen(t, in, c))
	bodies := published(store)
	times := map[int]int{}
	for i := range sources {
		times[strings.Count(bodies, fmt.Sprintf("line %04d\n", i))]++
	}
	if times[1] != sources {
		t.Errorf("lines by how often they are published: %v", times)
	}
}

// TestFaultLateCountedOnce: a part that ends late is counted once, however often
// that had to be written.
func TestFaultLateCountedOnce(t *testing.T) {
	arm(t, "finish.parts=error@2")
	down := true
	store := refuses("a", &down)
	in := openInstance(t, Config{Store: store, Sinks: []Sink{fileSink()}, CommitTimeout: 20 * time.Millisecond})
	put(t, in, "a", "aaa")
	_, _ = in.checkpoint(t.Context(), Now)
	down = false
	for range 2 {
		in.commitLeft(t.Context())
	}
	m, err := in.Manifest(1)
	if err != nil || m.Parts != 1 || len(m.Files) != 1 {
		t.Errorf("checkpoint 1 has %d parts and %d files, %v", m.Parts, len(m.Files), err)
	}
}

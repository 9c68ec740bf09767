package lifecycle

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/internal/sinkfstest"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// TestRenamedBehindTheBarrier: records keep the directory they were written in,
// whenever the process is killed.
func TestRenamedBehindTheBarrier(t *testing.T) {
	store := putStore()
	c := Config{Store: store, Sinks: []Sink{streamSink()}}
	in := killable(t, &c)
	dirs, ino := twoDirs(t, in)
	appendOnce(t, in, ino, "one\n")
	if _, err := in.barrier(t.Context(), in.begin(Now)); err != nil { // taken, not journaled
		t.Fatal(err)
	}
	if err := in.Rename(t.Context(), dirs[0], "a.log", dirs[1], "a.log", false); err != nil {
		t.Fatal(err)
	}
	publish(t, reopen(t, in, c))
	for key := range store.Objects() {
		if dir, _ := key.Split(); dir != "d1" {
			t.Errorf("one was written in d1, it is %q", key)
		}
	}
}

// TestTruncatedTwiceBehindTheBarrier: of two truncations neither is forgotten.
func TestTruncatedTwiceBehindTheBarrier(t *testing.T) {
	for _, restart := range []bool{false, true} {
		store := putStore()
		c := Config{Store: store, Sinks: []Sink{streamSink()}}
		in := killable(t, &c)
		ino := create(t, in, "a.log")
		appendOnce(t, in, ino, "one\ntwo")
		if _, err := in.barrier(t.Context(), in.begin(Now)); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Truncate(ino, 0); err != nil {
			t.Fatal(err)
		}
		if restart {
			in = reopen(t, in, c)
		}
		appendOnce(t, in, ino, "three")
		if _, err := in.Truncate(ino, 0); err != nil {
			t.Fatal(err)
		}
		appendOnce(t, in, ino, "four\n")
		publish(t, reopen(t, in, c))
		if got := published(store); strings.Contains(got, "twothree") {
			t.Errorf("restart %v: published %q", restart, got)
		}
	}
}

// TestFileCollectedWhileItsDirectoryMoves: a file is published under the name
// that it has when the checkpoint prepares it.
func TestFileCollectedWhileItsDirectoryMoves(t *testing.T) {
	sinks := []Sink{streamSink()}
	sinks[0].Whole = []string{"*.gz"}
	for range 20 {
		store := putStore()
		in := openInstance(t, Config{Store: store, Sinks: sinks})
		d, err := in.Mkdir(t.Context(), in.Root(), "d1", 0o755, Caller{})
		if err != nil {
			t.Fatal(err)
		}
		f, err := in.Create(d.Ino, "f.gz", 0o644, Caller{})
		if err != nil {
			t.Fatal(err)
		}
		rewrite(t, in, f.Ino, "file")
		l, err := in.Create(d.Ino, "a.log", 0o644, Caller{})
		if err != nil {
			t.Fatal(err)
		}
		appendOnce(t, in, l.Ino, "one\n")
		log := in.source(l.Ino)
		log.mu.Lock() // the rename stops at the log, before or behind the file
		done := make(chan error)
		go func() { done <- in.Rename(t.Context(), in.Root(), "d1", in.Root(), "d2", false) }()
		time.Sleep(20 * time.Millisecond)
		var h harvest
		in.collectOne(in.source(f.Ino), Now, in.now(), &h) // as a checkpoint does
		log.mu.Unlock()
		err = <-done
		if serr := in.seal(t.Context(), h); serr != nil {
			t.Fatal(serr)
		}
		if errors.Is(err, ErrHoldsFinished) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		publish(t, in)
		publish(t, in)
		for key, body := range store.Objects() {
			if dir, _ := key.Split(); string(body) == "file" && dir != "d2" {
				t.Fatalf("d1 was renamed to d2, its file is %q", key)
			}
		}
	}
}

// TestNumbersRiseThroughABarrier: what is written while a checkpoint makes the
// spool durable has no number before what that checkpoint took.
func TestNumbersRiseThroughABarrier(t *testing.T) {
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 10}, Unit: 8})
	in := openInstance(t, Config{Store: store, Sinks: []Sink{streamSink()}})
	ino := create(t, in, "a.log")
	openFor(t, in, ino, Use{Write: true})
	appendOnce(t, in, ino, "first\n")
	h, err := in.barrier(t.Context(), in.begin(Now))
	if err != nil {
		t.Fatal(err)
	}
	appendOnce(t, in, ino, "and then a lot more than fits into one request\n")
	in.look(in.source(ino))
	if err := in.growSource(t.Context(), in.source(ino)); err != nil { // as those who send early do
		t.Fatal(err)
	}
	if err := in.seal(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	publish(t, in)
	if got := published(store); !strings.HasPrefix(got, "first") {
		t.Errorf("in order of numbers: %q", got)
	}
	in.ReleaseFile(ino, Use{Write: true})
}

// TestTriggerBehindTheBarrier: whoever asks while a checkpoint is under way
// gets one that has what was written before asking.
func TestTriggerBehindTheBarrier(t *testing.T) {
	committing, release := make(chan struct{}, 1), make(chan struct{})
	store := mem.New(mem.Options{
		Properties: backend.Properties{StageAbove: 1 << 20},
		Before: func(_ context.Context, op mem.Op, _ backend.Key) error {
			if op == mem.Put {
				select {
				case committing <- struct{}{}:
				default:
				}
				<-release
			}
			return nil
		},
	})
	in := openInstance(t, Config{Store: store, Sinks: []Sink{streamSink()}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	ino := create(t, in, "a.log")
	ask := func() chan journal.Checkpoint {
		answer := make(chan journal.Checkpoint, 1)
		go func() {
			c, err := in.Checkpoint(ctx, Now)
			if err != nil {
				t.Error(err)
			}
			answer <- c
		}()
		return answer
	}
	appendOnce(t, in, ino, "one\n")
	first := ask()
	<-committing
	appendOnce(t, in, ino, "two\n")
	second := ask()
	sinkfstest.Eventually(t, "the second has asked", func() bool {
		in.rounds.mu.Lock()
		defer in.rounds.mu.Unlock()
		return in.rounds.waiting != nil
	})
	close(release)
	a, b := <-first, <-second
	if b.ID <= a.ID || a.Parts != 1 || b.Parts != 1 {
		t.Errorf("the answers are checkpoint %d of %d parts and %d of %d, want the second to have what was written before it was asked for", a.ID, a.Parts, b.ID, b.Parts)
	}
	if got := published(store); got != "one\n|two\n" {
		t.Errorf("published %q", got)
	}
}

// TestPartsHaveTheTimeOfTheirLastRecord, and not that of the checkpoint.
func TestPartsHaveTheTimeOfTheirLastRecord(t *testing.T) {
	store := putStore()
	in := openInstance(t, Config{Store: store, Sinks: []Sink{streamSink()}})
	ino := create(t, in, "a.log")
	before := time.Now()
	appendOnce(t, in, ino, "one\n")
	in.look(in.source(ino))
	after := time.Now()
	in.now = func() time.Time { return time.Now().Add(time.Hour) }
	publish(t, in)
	for key := range store.Objects() {
		info, err := store.Stat(t.Context(), key)
		if err != nil || info.ModTime.Before(before.Add(-time.Second)) || info.ModTime.After(after) || info.Mode != streamMode {
			t.Errorf("%s is of %v, mode %o (%v), written between %v and %v", key, info.ModTime, info.Mode, err, before, after)
		}
	}
}

package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// TestFailedRenameKeepsItsTarget: a rename that is refused changes nothing.
func TestFailedRenameKeepsItsTarget(t *testing.T) {
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}, Before: func(_ context.Context, op mem.Op, k backend.Key) error {
		if op == mem.Put && k == "a" {
			return fmt.Errorf("down: %w", backend.ErrTransient)
		}
		return nil
	}})
	in := openInstance(t, Config{Store: store, Sinks: []Sink{fileSink()}, CommitTimeout: 20 * time.Millisecond})
	put(t, in, "a", "aaa")
	if _, err := in.checkpoint(t.Context(), Now); !errors.Is(err, ErrIncomplete) {
		t.Fatal(err)
	}
	put(t, in, "b", "precious")
	err := in.Rename(t.Context(), in.Root(), "a", in.Root(), "b", false)
	t.Logf("rename a b: %v", err)
	if err == nil {
		t.Fatal("rename worked?")
	}
	_, _ = in.checkpoint(t.Context(), Now)
	if got := string(store.Objects()["b"]); got != "precious" {
		_, lerr := in.Lookup(in.Root(), "b")
		t.Errorf("rename failed with %v, and b, closed before, is %q in the target (lookup in the mount: %v)", err, got, lerr)
	}
}

// TestFailedUnlinkKeepsTheFile: a file whose name could not be taken away is
// published like any other.
func TestFailedUnlinkKeepsTheFile(t *testing.T) {
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}})
	c := Config{Store: store, StateDir: t.TempDir(), Sinks: []Sink{fileSink()}}
	in := openInstance(t, c)
	ino := put(t, in, "a", "aaa")
	n := in.tree.Node(ino)
	// makes the move of the name fail, as a full disk or EIO does
	grave := filepath.Join(c.StateDir, "spool", "unlinked", fmt.Sprintf("%d-%d", n.ID().Ino, n.ID().Gen))
	if err := os.WriteFile(grave, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := in.Unlink(t.Context(), in.Root(), "a")
	t.Logf("unlink: %v", err)
	if err == nil {
		t.Fatal("no error")
	}
	_ = os.Remove(grave)
	cp, err := in.checkpoint(t.Context(), Now)
	t.Logf("checkpoint: %s parts %d left out %v err %v; unpublished %+v", cp.State, cp.Parts, cp.LeftOut, err, in.Unpublished())
	if _, ok := store.Objects()["a"]; !ok {
		_, lerr := in.Lookup(in.Root(), "a")
		_, oerr := in.OpenFile(ino, Use{Write: true}, Caller{})
		t.Errorf("a is still a name of the mount (%v; open %v), the checkpoint succeeded (%v) without it", lerr, oerr, err)
	}
}

// TestFileRewrittenWhileStaged: a file that a program opens while a checkpoint
// stages it is published as it is when it is closed again, and the next mount
// knows no other.
func TestFileRewrittenWhileStaged(t *testing.T) {
	var in *Instance
	var once sync.Once
	var ino uint64
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 10, Parallel: 1}, Before: func(_ context.Context, op mem.Op, k backend.Key) error {
		if op == mem.Stage && k == "a-large" {
			once.Do(func() { rewrite(t, in, ino, "new") })
		}
		return nil
	}})
	c := Config{Store: store, StateDir: t.TempDir(), Sinks: []Sink{fileSink()}}
	var err error
	if in, err = Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	put(t, in, "a-large", "a large file that is staged")
	ino = put(t, in, "b", "old bytes")
	for i := range 3 {
		c, err := in.checkpoint(t.Context(), Now)
		t.Logf("checkpoint %d: state %s failed %v left out %v err %v", i, c.State, c.Failed, c.LeftOut, err)
	}
	t.Logf("b in target: %q", store.Objects()["b"])
	in.clean()
	for _, p := range in.selectParts(func(*part) bool { return true }) {
		t.Logf("part %d of %q is %s: %s", p.ID, p.Key, p.State, p.Error)
	}
	if _, err := in.checkpoint(t.Context(), Now); err != nil { // flushes garbage
		t.Error(err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	in2, err := Open(t.Context(), c)
	if err != nil {
		t.Fatalf("the next mount: %v", err)
	}
	_ = in2.Close()
}

// TestFileRemovedBehindTheBarrier: a file that goes while a checkpoint takes it
// does not fail the checkpoint.
func TestFileRemovedBehindTheBarrier(t *testing.T) {
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}})
	in := openInstance(t, Config{Store: store, Sinks: []Sink{fileSink()}})
	put(t, in, "a", "aaa")
	put(t, in, "b", "bbb")
	// prepare(), with rm b just behind the barrier
	c := in.begin(Now)
	h, err := in.barrier(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Unlink(t.Context(), in.Root(), "b"); err != nil {
		t.Fatal(err)
	}
	if err := in.seal(t.Context(), h); err != nil {
		t.Errorf("seal of the checkpoint: %v", err)
	}
}

// TestQuarantineKeepsNoManifests: a part that is quarantined after its
// checkpoint does not keep manifests beyond their time.
func TestQuarantineKeepsNoManifests(t *testing.T) {
	down := true
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}, Before: func(_ context.Context, op mem.Op, k backend.Key) error {
		if down && op == mem.Put && k == "taken" {
			return fmt.Errorf("down: %w", backend.ErrTransient)
		}
		return nil
	}})
	in := openInstance(t, Config{Store: store, Sinks: []Sink{fileSink()}, Retain: 3, CommitTimeout: 20 * time.Millisecond})
	put(t, in, "taken", "ours")
	if _, err := in.checkpoint(t.Context(), Now); !errors.Is(err, ErrIncomplete) {
		t.Fatal(err)
	}
	store.Foreign("taken", []byte("theirs"))
	down = false
	in.commitLeft(t.Context())
	for i := range 40 {
		put(t, in, fmt.Sprint("f", i), "x")
		if _, err := in.checkpoint(t.Context(), Now); err != nil {
			t.Fatal(err)
		}
		if i == 10 { // the operator does what he is told
			if err := in.Rename(t.Context(), in.Root(), "taken", in.Root(), "other", false); err != nil {
				t.Fatal(err)
			}
		}
	}
	kept := 0
	_ = in.journal.Load(func(r journal.Record) error {
		if _, ok := r.(journal.Checkpoint); ok {
			kept++
		}
		return nil
	})
	if len(in.retained) > 3 {
		t.Errorf("retain is 3; %d manifests are retained, %d checkpoints are in the journal, open: %d", len(in.retained), kept, len(in.partial))
	}
}

// TestFilesDeletedAtOnce: finished files that are deleted at the same time are
// all noted as deleted.
func TestFilesDeletedAtOnce(t *testing.T) {
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}})
	s := fileSink()
	s.AllowDelete = true
	in := openInstance(t, Config{Store: store, Sinks: []Sink{s}})
	const files = 8
	for i := range files {
		put(t, in, fmt.Sprint("f", i), "x")
	}
	if _, err := in.checkpoint(t.Context(), Now); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range files {
		wg.Go(func() {
			if err := in.UnlinkFinished(context.Background(), fmt.Sprint("f", i)); err != nil {
				t.Errorf("delete f%d: %v", i, err)
			}
		})
	}
	wg.Wait()
	m, err := in.Manifest(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range m.Files {
		if f.State != deleted {
			t.Errorf("%s was deleted, the manifest says %s: fsck misses it", f.Key, f.State)
		}
	}
}

// TestStreamWrittenAfterItsEnd: an unlinked stream of which all is finished,
// and which is opened by its descriptor and written to again, is not removed.
func TestStreamWrittenAfterItsEnd(t *testing.T) {
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}})
	in := openInstance(t, Config{Store: store, Sinks: []Sink{stream()}})
	ino := create(t, in, "a.log")
	appendTo(t, in, ino, "one\n")
	if _, err := in.checkpoint(t.Context(), Now); err != nil {
		t.Fatal(err)
	}
	// exec 3<a.log; rm a.log
	if _, err := in.OpenFile(ino, Use{Read: true}, Caller{}); err != nil {
		t.Fatal(err)
	}
	if err := in.Unlink(t.Context(), in.Root(), "a.log"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Millisecond)
	s := in.source(ino)
	in.look(s) // the follower, 0.1 s later
	in.look(s)
	t.Logf("lingers: %v", in.lingering[s])
	// echo two >> /dev/fd/3, within 5 s
	if _, err := in.OpenFile(ino, Use{Write: true}, Caller{}); err != nil {
		t.Fatal(err)
	}
	appendTo(t, in, ino, "two\n")
	in.ReleaseFile(ino, Use{Write: true})
	in.clean() // the house keeper
	in.ReleaseFile(ino, Use{Read: true})
	cp, err := in.checkpoint(t.Context(), Now)
	t.Logf("checkpoint: %s %v %v", cp.State, cp.LeftOut, err)
	if got := all(t, store); !strings.Contains(got, "two\n") {
		t.Errorf("two was written and is lost")
	}
}

// TestScratchRenamedWhileOpen: the checkpoint after the last close takes it.
func TestScratchRenamedWhileOpen(t *testing.T) {
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}})
	in := openInstance(t, Config{Store: store, Sinks: []Sink{stream()}})
	ino := create(t, in, "a.tmp")
	if _, err := in.OpenFile(ino, Use{Write: true}, Caller{}); err != nil {
		t.Fatal(err)
	}
	f, err := in.Descriptor(ino, os.O_WRONLY|os.O_APPEND)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f, "one")
	if err := in.Rename(t.Context(), in.Root(), "a.tmp", in.Root(), "a.log", false); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	in.ReleaseFile(ino, Use{Write: true})
	cp, err := in.checkpoint(t.Context(), Now)
	if got := all(t, store); got != "one\n" {
		t.Errorf("published %q, left out %v, %v", got, cp.LeftOut, err)
	}
}

// TestQuarantinedFileRenamedBeforeAKill: what was done about a quarantined file
// is known to the next mount.
func TestQuarantinedFileRenamedBeforeAKill(t *testing.T) {
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}})
	c := Config{Store: store, StateDir: t.TempDir(), Sinks: []Sink{fileSink()}}
	in, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	put(t, in, "a", "ours")
	store.Foreign("a", []byte("theirs"))
	cp, err := in.checkpoint(t.Context(), Now)
	t.Logf("checkpoint: %s %v %v", cp.State, cp.Failed, err)
	if err := in.Rename(t.Context(), in.Root(), "a", in.Root(), "b", false); err != nil {
		t.Fatal(err)
	}
	in = reopen(t, in, c)
	cp, err = in.checkpoint(t.Context(), Now)
	if _, ok := store.Objects()["b"]; !ok {
		t.Errorf("b is not published: checkpoint %s, left out %v, %v", cp.State, cp.LeftOut, err)
	}
}

// TestQuarantinedFileRemovedBeforeAKill: the next mount does not miss it.
func TestQuarantinedFileRemovedBeforeAKill(t *testing.T) {
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}})
	c := Config{Store: store, StateDir: t.TempDir(), Sinks: []Sink{fileSink()}}
	in, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	put(t, in, "a", "ours")
	store.Foreign("a", []byte("theirs"))
	cp, err := in.checkpoint(t.Context(), Now)
	t.Logf("checkpoint: %s %v %v", cp.State, cp.Failed, err)
	if err := in.Unlink(t.Context(), in.Root(), "a"); err != nil {
		t.Fatal(err)
	}
	reopen(t, in, c)
}

// TestTruncatedBehindTheBarrier: a record that a truncation ended stays apart,
// whenever the process is killed.
func TestTruncatedBehindTheBarrier(t *testing.T) {
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}})
	c := Config{Store: store, StateDir: t.TempDir(), Sinks: []Sink{stream()}}
	in, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ino := create(t, in, "a.log")
	appendTo(t, in, ino, "one\ntwo") // nobody has it open: its last record is torn
	if _, err := in.barrier(t.Context(), in.begin(Now)); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Truncate(ino, 0); err != nil {
		t.Fatal(err)
	}
	appendTo(t, in, ino, "three\n")
	in = reopen(t, in, c) // killed before the seal
	if _, err := in.checkpoint(t.Context(), Now); err != nil {
		t.Fatal(err)
	}
	if got := all(t, store); strings.Contains(got, "twothree") {
		t.Errorf("the record before the truncation was joined with the one after: %q", got)
	}
}

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
	"github.com/sinkfs/sinkfs/lifecycle/audit"
)

// TestFailedRenameKeepsItsTarget: a rename that is refused changes nothing.
func TestFailedRenameKeepsItsTarget(t *testing.T) {
	down := true
	store := refuses("a", &down)
	in := openInstance(t, Config{Store: store, Sinks: []Sink{fileSink()}, CommitTimeout: 20 * time.Millisecond})
	put(t, in, "a", "aaa")
	if _, err := in.checkpoint(t.Context(), Now); !errors.Is(err, ErrIncomplete) {
		t.Fatal(err)
	}
	put(t, in, "b", "precious")
	if err := in.Rename(t.Context(), in.Root(), "a", in.Root(), "b", false); !errors.Is(err, ErrFinished) {
		t.Errorf("rename of a file that is committing: %v", err)
	}
	_, _ = in.checkpoint(t.Context(), Now) // a stays stuck
	if got := string(store.Objects()["b"]); got != "precious" {
		t.Errorf("b holds %q", got)
	}
}

// TestFailedUnlinkKeepsTheFile: a file whose name could not be taken away is
// published like any other.
func TestFailedUnlinkKeepsTheFile(t *testing.T) {
	store := putStore()
	c := Config{Store: store, StateDir: t.TempDir(), Sinks: []Sink{fileSink()}}
	in := openInstance(t, c)
	id := in.tree.Node(put(t, in, "a", "aaa")).ID()
	inTheWay := filepath.Join(c.StateDir, "spool", "unlinked", fmt.Sprintf("%d-%d", id.Ino, id.Gen))
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := in.Unlink(in.Root(), "a"); err == nil {
		t.Fatal("no error")
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	publish(t, in)
	if got := published(store); got != "aaa" {
		t.Errorf("published %q", got)
	}
}

// TestFileRewrittenWhileStaged: a file that a program opens while a checkpoint
// stages it is published as it is when it is closed again, and the next mount
// knows no other.
func TestFileRewrittenWhileStaged(t *testing.T) {
	var in *Instance
	var ino uint64
	var once sync.Once
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 10, Parallel: 1}, Before: func(_ context.Context, op mem.Op, k backend.Key) error {
		if op == mem.Stage && k == "a-large" {
			once.Do(func() { rewrite(t, in, ino, "new") })
		}
		return nil
	}})
	c := Config{Store: store, Sinks: []Sink{fileSink()}}
	in = killable(t, &c)
	put(t, in, "a-large", "a file that is staged")
	ino = put(t, in, "b", "old bytes")
	publish(t, in)
	publish(t, in)
	if got := string(store.Objects()["b"]); got != "new" {
		t.Errorf("b holds %q", got)
	}
	in.clean()
	publish(t, in) // what may be forgotten is
	reopen(t, in, c)
}

// TestFileRemovedBehindTheBarrier: a file that goes while a checkpoint takes it
// does not fail the checkpoint.
func TestFileRemovedBehindTheBarrier(t *testing.T) {
	in := openInstance(t, Config{Store: putStore(), Sinks: []Sink{fileSink()}})
	put(t, in, "a", "aaa")
	put(t, in, "b", "bbb")
	h, err := in.barrier(t.Context(), in.begin(Now))
	if err == nil {
		err = in.Unlink(in.Root(), "b")
	}
	if err == nil {
		err = in.seal(t.Context(), h)
	}
	if err != nil {
		t.Error(err)
	}
}

// TestQuarantineKeepsNoManifests: a part that is quarantined after its
// checkpoint does not keep manifests beyond their time.
func TestQuarantineKeepsNoManifests(t *testing.T) {
	down := true
	store := refuses("taken", &down)
	in := openInstance(t, Config{Store: store, Sinks: []Sink{fileSink()}, Retain: 3, CommitTimeout: 20 * time.Millisecond})
	put(t, in, "taken", "ours")
	if _, err := in.checkpoint(t.Context(), Now); !errors.Is(err, ErrIncomplete) {
		t.Fatal(err)
	}
	store.Foreign("taken", []byte("theirs"))
	down = false
	in.commitLeft(t.Context())
	for i := range 10 {
		put(t, in, fmt.Sprint("f", i), "x")
		publish(t, in)
	}
	if n := len(in.retained); n > 3 {
		t.Errorf("%d manifests are retained, want 3", n)
	}
}

// TestFilesDeletedAtOnce: finished files that are deleted at the same time are
// all noted as deleted.
func TestFilesDeletedAtOnce(t *testing.T) {
	s := fileSink()
	s.AllowDelete = true
	in := openInstance(t, Config{Store: putStore(), Sinks: []Sink{s}})
	const files = 8
	for i := range files {
		put(t, in, fmt.Sprint("f", i), "x")
	}
	publish(t, in)
	var deletes sync.WaitGroup
	for i := range files {
		deletes.Go(func() {
			if err := in.UnlinkFinished(t.Context(), fmt.Sprint("f", i)); err != nil {
				t.Errorf("delete f%d: %v", i, err)
			}
		})
	}
	deletes.Wait()
	m, err := in.Manifest(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range m.Files {
		if f.State != deleted {
			t.Errorf("%s was deleted, the manifest says %s", f.Key, f.State)
		}
	}
}

// TestStreamWrittenAfterItsEnd: an unlinked stream of which all is finished,
// and which is opened by its descriptor and written to again, is not removed.
func TestStreamWrittenAfterItsEnd(t *testing.T) {
	store := putStore()
	in := openInstance(t, Config{Store: store, Sinks: []Sink{streamSink()}})
	s, ino := lingers(t, in)
	if !in.lingering[s] {
		t.Fatal("it does not linger")
	}
	openFor(t, in, ino, Use{Write: true}) // echo two >> /dev/fd/3
	appendOnce(t, in, ino, "two\n")
	in.ReleaseFile(ino, Use{Write: true})
	in.clean()
	in.ReleaseFile(ino, Use{Read: true})
	publish(t, in)
	if got := published(store); got != "one\n|two\n" {
		t.Errorf("published %q", got)
	}
}

// TestScratchRenamedWhileOpen: the checkpoint after the last close takes it.
func TestScratchRenamedWhileOpen(t *testing.T) {
	store := putStore()
	in := openInstance(t, Config{Store: store, Sinks: []Sink{streamSink()}})
	ino := create(t, in, "a.tmp")
	openFor(t, in, ino, Use{Write: true})
	f, err := in.Descriptor(ino, os.O_WRONLY|os.O_APPEND)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString("one\n")
	if err := errors.Join(err, in.Rename(t.Context(), in.Root(), "a.tmp", in.Root(), "a.log", false), f.Close()); err != nil {
		t.Fatal(err)
	}
	in.ReleaseFile(ino, Use{Write: true})
	publish(t, in)
	if got := published(store); got != "one\n" {
		t.Errorf("published %q", got)
	}
}

// TestQuarantinedFileTakenBackBeforeAKill: what was done about a quarantined
// file is known to the next mount.
func TestQuarantinedFileTakenBackBeforeAKill(t *testing.T) {
	for how, takeBack := range map[string]struct {
		do   func(in *Instance) error
		want string
	}{
		"renamed": {func(in *Instance) error { return in.Rename(t.Context(), in.Root(), "a", in.Root(), "b", false) }, "theirs|ours"},
		"removed": {func(in *Instance) error { return in.Unlink(in.Root(), "a") }, "theirs"},
	} {
		t.Run(how, func(t *testing.T) {
			store := putStore()
			c := Config{Store: store, Sinks: []Sink{fileSink()}}
			in := killable(t, &c)
			put(t, in, "a", "ours")
			store.Foreign("a", []byte("theirs"))
			if _, err := in.checkpoint(t.Context(), Now); !errors.Is(err, ErrIncomplete) {
				t.Fatal(err)
			}
			if err := takeBack.do(in); err != nil {
				t.Fatal(err)
			}
			publish(t, reopen(t, in, c))
			if got := published(store); got != takeBack.want {
				t.Errorf("in the target is %q, want %q", got, takeBack.want)
			}
		})
	}
}

// TestTruncatedBehindTheBarrier: a record that a truncation ended stays apart,
// whenever the process is killed.
func TestTruncatedBehindTheBarrier(t *testing.T) {
	store := putStore()
	c := Config{Store: store, Sinks: []Sink{streamSink()}}
	in := killable(t, &c)
	ino := create(t, in, "a.log")
	appendOnce(t, in, ino, "one\ntwo") // nobody has it open: its last record is torn
	if _, err := in.barrier(t.Context(), in.begin(Now)); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Truncate(ino, 0); err != nil {
		t.Fatal(err)
	}
	appendOnce(t, in, ino, "three\n")
	publish(t, reopen(t, in, c))
	if got := published(store); strings.Contains(got, "twothree") {
		t.Errorf("published %q", got)
	}
}

// TestFinishedKeepsTheMarks: records written before a rename to another
// directory stay in theirs, though what came before them is finished between
// the rename and a kill.
func TestFinishedKeepsTheMarks(t *testing.T) {
	store := putStore()
	c := Config{Store: store, Sinks: []Sink{streamSink()}}
	in := killable(t, &c)
	dirs, ino := twoDirs(t, in)
	appendOnce(t, in, ino, "one\n")
	prepared, err := in.prepare(t.Context(), Now)
	if err != nil {
		t.Fatal(err)
	}
	appendOnce(t, in, ino, "two\n")
	if err := in.Rename(t.Context(), dirs[0], "a.log", dirs[1], "a.log", false); err != nil {
		t.Fatal(err)
	}
	if _, err := in.complete(t.Context(), prepared); err != nil {
		t.Fatal(err)
	}
	publish(t, reopen(t, in, c))
	for key, body := range store.Objects() {
		if dir, _ := key.Split(); string(body) == "two\n" && dir != "d1" {
			t.Errorf("two was written in d1, it is %q", key)
		}
	}
	if got := published(store); got != "one\n|two\n" {
		t.Errorf("published %q", got)
	}
}

// TestRenameThatFailsKeepsItsTarget: what may fail of a rename comes before its
// target goes.
func TestRenameThatFailsKeepsItsTarget(t *testing.T) {
	store := putStore()
	c := Config{Store: store, StateDir: t.TempDir(), Sinks: []Sink{fileSink()}}
	in := openInstance(t, c)
	d, err := in.Mkdir(t.Context(), in.Root(), "d", 0o755, Caller{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Create(d.Ino, "a", 0o644, Caller{}); err != nil {
		t.Fatal(err)
	}
	put(t, in, "b", "precious")
	if err := os.Remove(filepath.Join(c.StateDir, "spool", "tree", "d", "a")); err != nil { // it cannot be made durable
		t.Fatal(err)
	}
	if err := in.Rename(t.Context(), d.Ino, "a", in.Root(), "b", false); err == nil {
		t.Fatal("no error")
	}
	if _, err := in.checkpoint(t.Context(), Now); !errors.Is(err, ErrIncomplete) { // d/a is lost
		t.Error(err)
	}
	if got := published(store); got != "precious" {
		t.Errorf("published %q", got)
	}
}

// TestLeavingAgain: a stream that was written to after it was announced to go
// is announced again.
func TestLeavingAgain(t *testing.T) {
	store := putStore()
	c := Config{Store: store, Sinks: []Sink{streamSink()}}
	in := killable(t, &c)
	s, ino := lingers(t, in)
	openFor(t, in, ino, Use{Write: true}) // echo two >> /dev/fd/3
	appendOnce(t, in, ino, "two\n")
	in.ReleaseFile(ino, Use{Write: true})
	in.clean() // announced, and not over
	in.ReleaseFile(ino, Use{Read: true})
	publish(t, in) // two is finished, and it is removed
	for range 3 {
		in.look(s)
		in.clean()
	}
	if in.source(ino) != nil {
		t.Fatal("not removed")
	}
	in = reopen(t, in, c) // killed before the journal forgot it
	if l := in.Status().Lost; len(l) > 0 {
		t.Errorf("lost: %+v", l)
	}
	if got := published(store); got != "one\n|two\n" {
		t.Errorf("published %q", got)
	}
}

// TestDeleteWhoseAnswerIsLost: a finished file that is gone on purpose is not
// missed, though the store's answer was.
func TestDeleteWhoseAnswerIsLost(t *testing.T) {
	lose := true
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}, After: func(_ context.Context, op mem.Op, _ backend.Key) error {
		if lose && op == mem.Delete {
			return fmt.Errorf("lost: %w", backend.ErrTransient)
		}
		return nil
	}})
	s := fileSink()
	s.AllowDelete = true
	in := openInstance(t, Config{Store: store, Sinks: []Sink{s}})
	put(t, in, "a", "aaa")
	publish(t, in)
	if err := in.UnlinkFinished(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	lose = false
	account, err := in.Account()
	if err != nil {
		t.Fatal(err)
	}
	report, err := audit.Fsck(t.Context(), audit.Input{Store: store, State: audit.Fixed(account)})
	if err != nil || report.Problems != 0 {
		t.Errorf("%v %+v", err, report)
	}
}

package lifecycle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// damage does something to the spool's files whose paths contain match.
func damage(t *testing.T, in *Instance, match string, do func(path string) error) {
	t.Helper()
	done := 0
	err := filepath.WalkDir(in.cfg.SpoolDir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.Contains(p, match) {
			return err
		}
		done++
		return do(p)
	})
	if err != nil || done == 0 {
		t.Fatalf("%d spool files damaged, %v", done, err)
	}
}

// wantFailed wants a checkpoint that names the one source it cannot publish.
func wantFailed(t *testing.T, in *Instance, path string) {
	t.Helper()
	c, err := in.checkpoint(t.Context(), Now)
	if !errors.Is(err, ErrIncomplete) || c.State == journal.Complete || len(c.Failed) != 1 || c.Failed[0].Path != path {
		t.Errorf("checkpoint %s: %v, failed %+v, left out %+v; want %s to fail it", c.State, err, c.Failed, c.LeftOut, path)
	}
}

// TestLostUnlinkedStreamFailsTheCheckpoint: the records of a stream whose name
// is gone are still to be published.
func TestLostUnlinkedStreamFailsTheCheckpoint(t *testing.T) {
	in := openInstance(t, Config{Store: putStore(), Sinks: []Sink{streamSink()}})
	appendOnce(t, in, create(t, in, "a.log"), "one\n")
	if err := in.Unlink(in.Root(), "a.log"); err != nil {
		t.Fatal(err)
	}
	damage(t, in, "", os.Remove)
	wantFailed(t, in, "a.log")
}

// TestLostScratchFailsNoCheckpoint: it would not have been published.
func TestLostScratchFailsNoCheckpoint(t *testing.T) {
	in := openInstance(t, Config{Store: putStore(), Sinks: []Sink{streamSink()}})
	put(t, in, "x.tmp", "scratch")
	appendOnce(t, in, create(t, in, "a.log"), "one\n")
	damage(t, in, "x.tmp", os.Remove)
	publish(t, in)
}

// TestUnreadableSpoolFileFailsTheCheckpoint: success would say that all records
// are finished.
func TestUnreadableSpoolFileFailsTheCheckpoint(t *testing.T) {
	store := putStore()
	in := openInstance(t, Config{Store: store, Sinks: []Sink{streamSink()}})
	ino := create(t, in, "a.log")
	openFor(t, in, ino, Use{Write: true})
	defer in.ReleaseFile(ino, Use{Write: true})
	appendOnce(t, in, ino, "one\ntwo\n")
	in.look(in.source(ino))
	damage(t, in, "", func(p string) error { return os.Truncate(p, 1) }) // a read ends too early, as one does with EIO
	put(t, in, "b.gz", "whole")
	wantFailed(t, in, "a.log")
	if got := published(store); got != "whole" {
		t.Errorf("published %q, want what can be read", got)
	}
}

// TestManifestAfterTheLastPartIsQuarantined: nothing more will be finished of
// its checkpoint, so the target gets its manifest.
func TestManifestAfterTheLastPartIsQuarantined(t *testing.T) {
	down := true
	store := refuses("b.bin", &down)
	in := openInstance(t, Config{Store: store, Sinks: []Sink{fileSink()}, Manifests: true, CommitTimeout: 20 * time.Millisecond})
	put(t, in, "a.bin", "a")
	put(t, in, "b.bin", "b")
	wantFailed(t, in, "b.bin")
	down = false
	store.Foreign("b.bin", []byte("theirs"))
	in.commitLeft(t.Context())
	in.sendOwed(t.Context())
	if _, ok := store.Objects()[backend.Key(ManifestName+"/"+in.uid+"/1.json")]; !ok {
		t.Errorf("no manifest in the target: owed %v, partial %v", in.owed, in.partial)
	}
}

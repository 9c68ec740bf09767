package lifecycle

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
)

func rmSpool(t *testing.T, in *Instance, match string) {
	t.Helper()
	n := 0
	_ = filepath.WalkDir(in.cfg.SpoolDir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && (match == "" || strings.Contains(p, match)) {
			t.Log("rm", p)
			n++
			return os.Remove(p)
		}
		return nil
	})
	if n == 0 {
		t.Fatal("nothing removed")
	}
}

// TestLostSpoolFileOfAnUnlinkedStream: its records are still to be published.
func TestLostSpoolFileOfAnUnlinkedStream(t *testing.T) {
	store := putStore()
	c := Config{Store: store, Target: "mem", Sinks: []Sink{streamSink()}}
	in := killable(t, &c)
	t.Cleanup(func() { _ = in.Close() })
	ino := create(t, in, "a.log")
	openFor(t, in, ino, Use{Write: true})
	appendOnce(t, in, ino, "one\n")
	in.ReleaseFile(ino, Use{Write: true})
	if err := in.Unlink(in.Root(), "a.log"); err != nil {
		t.Fatal(err)
	}
	rmSpool(t, in, "")
	cp, err := in.checkpoint(t.Context(), Now)
	t.Logf("%+v %v lost=%v", cp, err, in.lost)
	if err == nil {
		t.Errorf("the checkpoint succeeded, published %q, lost %v", published(store), in.lost)
	}
}

func TestLostScratchFailsNoCheckpoint(t *testing.T) {
	store := putStore()
	c := Config{Store: store, Target: "mem", Sinks: []Sink{streamSink()}}
	in := killable(t, &c)
	t.Cleanup(func() { _ = in.Close() })
	put(t, in, "x.tmp", "scratch")
	ino := create(t, in, "a.log")
	appendOnce(t, in, ino, "one\n")
	rmSpool(t, in, "x.tmp")
	cp, err := in.checkpoint(t.Context(), Now)
	t.Logf("%+v %v lost=%v", cp, err, in.lost)
	if err != nil {
		t.Errorf("checkpoint = %v", err)
	}
}

func TestManifestAfterTheLastPartIsQuarantined(t *testing.T) {
	down := true
	store := mem.New(mem.Options{
		Properties: backend.Properties{StageAbove: 1 << 20},
		Before: func(_ context.Context, op mem.Op, k backend.Key) error {
			if down && op == mem.Put && k == "b.bin" {
				return fmt.Errorf("down: %w", backend.ErrTransient)
			}
			return nil
		},
	})
	c := Config{Store: store, Target: "mem", Sinks: []Sink{fileSink()}, Manifests: true, CommitTimeout: 200 * time.Millisecond}
	in := killable(t, &c)
	t.Cleanup(func() { _ = in.Close() })
	put(t, in, "a.bin", "a")
	put(t, in, "b.bin", "b")
	cp, err := in.checkpoint(t.Context(), Now)
	t.Logf("%+v %v", cp, err)
	down = false
	body := "foreign"
	if _, err := store.Put(t.Context(), backend.Object{Key: "b.bin", Size: int64(len(body)), Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }}); err != nil {
		t.Fatal(err)
	}
	in.commitLeft(t.Context())
	in.commitLeft(t.Context())
	in.sendOwed(t.Context())
	for k := range store.Objects() {
		if strings.HasPrefix(string(k), ManifestName) {
			return
		}
	}
	t.Errorf("no manifest in the target: owed %v, partial %v, %v", in.owed, in.partial, store.Objects())
}

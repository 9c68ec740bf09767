package crash_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/internal/testfs"
	"github.com/sinkfs/sinkfs/test/harness"
)

// TestPowerCut takes the power from the disk that holds state and target, many
// times while everyone writes: what fsync acknowledged is published from what
// the disk then holds, once.
func TestPowerCut(t *testing.T) {
	binary := harness.Binary(t, "")
	for _, kind := range []testfs.Kind{testfs.Ext4, testfs.XFS} {
		t.Run(string(kind), func(t *testing.T) { cuts(t, binary, kind, (given.cuts+1)/2) })
	}
}

func cuts(t *testing.T, binary string, kind testfs.Kind, count int) {
	disk := testfs.NewPowerCut(t, kind, 512)
	l := lab(t, binary, t.TempDir(), local())
	l.State, l.Target = filepath.Join(disk.Dir(), "state"), filepath.Join(disk.Dir(), "target")
	ctx, cancel := context.WithTimeout(t.Context(), patience())
	defer cancel()
	defer l.AbortAfter(ctx)()

	crew, err := begin(ctx, l, synced(l))
	if err != nil {
		t.Fatal(err)
	}
	w := harness.NewWatcher(l)
	watching, stop := context.WithCancel(ctx)
	var checkpoints int
	var declined []string
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		checkpoints, declined = crew.Inquire(watching, w)
	}()
	records := 0
	for i := 0; i < count && err == nil; i++ {
		if err = crew.Wrote(ctx, 25); err != nil {
			break
		}
		harness.Pass(ctx, rand.N(200*time.Millisecond))
		seen := w.Seen(ctx)
		var acked []harness.Claim
		if acked, err = crew.Claims(); err == nil { // before the cut: all of it must be there after
			t.Run(fmt.Sprint("cut", i), func(t *testing.T) { records += afterCut(t, binary, disk.Cut(t), acked, seen) })
		}
	}
	stop()
	<-watched
	if err := errors.Join(err, crew.Stop(ctx)); err != nil {
		t.Fatal(err)
	}
	o := &outcome{checkpoints: checkpoints, declined: declined}
	if err := o.finish(ctx, l, crew, w, false); err != nil {
		t.Error(err)
	}
	t.Logf("%d cuts, %d synced records compared; the running one: %v", count, records, o)
	o.check(t, tolerance{wait: true}) // the disk is a file on a file
}

// synced are writers that call fsync before they count a record as written.
func synced(l *harness.Lab) []harness.Writer {
	writers := harness.Few(l)
	for i := range writers {
		w := &writers[i]
		w.Sync, w.Every = true, 10*time.Millisecond
		w.Length = min(w.Length, 20_000)
	}
	return writers
}

// afterCut mounts what the disk holds, publishes all of it, and compares. It
// returns how many records had been acknowledged.
func afterCut(t *testing.T, binary, dir string, acked []harness.Claim, seen map[string]harness.Object) (records int) {
	t.Helper()
	l := lab(t, binary, t.TempDir(), local())
	l.State, l.Target = filepath.Join(dir, "state"), filepath.Join(dir, "target")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	defer l.AbortAfter(ctx)()
	before := harness.NewWatcher(l)
	before.Look(ctx)
	if err := l.Start(ctx); err != nil {
		t.Fatal(err)
	}
	code, output, err := l.Umount(ctx)
	if err != nil || code != 0 {
		t.Fatalf("umount: %d, %v: %s", code, err, output)
	}
	before.Final(ctx) // what was finished stays as it was
	before.Same(ctx, seen)
	wrong, _ := before.Wrong()
	for i := range acked {
		acked[i].Cut = true
		records += len(acked[i].Acked)
	}
	more, err := harness.Verify(ctx, l.Shelf(), harness.Sinks(), acked)
	if wrong = append(wrong, more...); err != nil || len(wrong) > 0 {
		t.Errorf("after a cut: %v\n%s", err, harness.Problems(wrong))
	}
	return records
}

package audit_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/lifecycle"
	"github.com/sinkfs/sinkfs/lifecycle/audit"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// TestWhatTheLifecycleLeaves: of an instance that has published some, could
// not publish some, and has not come to publish some, nothing is a problem.
func TestWhatTheLifecycleLeaves(t *testing.T) {
	dir := t.TempDir()
	down := false
	store := mem.New(mem.Options{Before: func(_ context.Context, op mem.Op, _ backend.Key) error {
		if down && (op == mem.Put || op == mem.Commit) {
			return backend.ErrTransient
		}
		return nil
	}})
	store.Foreign("foreign", []byte("foreign"))
	in, err := lifecycle.Open(t.Context(), lifecycle.Config{StateDir: dir, Store: store, CommitTimeout: 50 * time.Millisecond, Manifests: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- in.Run(ctx) }()

	write(t, in, "a.log", "first\n")
	write(t, in, "b.gz", "not really")
	if c, err := in.Checkpoint(t.Context(), lifecycle.Now); err != nil || c.Parts != 2 {
		t.Fatalf("Checkpoint = %+v, %v", c, err)
	}
	down = true
	write(t, in, "a.log", "second\n")
	if c, err := in.Checkpoint(t.Context(), lifecycle.Now); !errors.Is(err, lifecycle.ErrIncomplete) {
		t.Fatalf("Checkpoint = %+v, %v", c, err)
	}
	write(t, in, "a.log", "third\n")
	write(t, in, "x.tmp", "scratch")
	stop()
	if err := <-stopped; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}

	r := fsck(t, audit.Input{Store: store, State: audit.Fixed(load(t, dir)), Bodies: true})
	if r.Problems != 0 || r.Instance != in.UID() {
		t.Errorf("problems: %+v", r)
	}
	got := map[audit.Area]map[audit.Kind]int64{audit.Target: {}, audit.Spool: {}}
	for _, total := range r.Totals {
		got[total.Area][total.Kind] = total.Bytes
	}
	for _, want := range []audit.Total{
		{Area: audit.Target, Kind: audit.Finished, Bytes: 16},
		{Area: audit.Target, Kind: audit.Foreign, Bytes: 7},
		{Area: audit.Spool, Kind: audit.Finished, Bytes: 6},
		{Area: audit.Spool, Kind: audit.Committing, Bytes: 7},
		{Area: audit.Spool, Kind: audit.Unsealed, Bytes: 6},
		{Area: audit.Spool, Kind: audit.Scratch, Bytes: 7},
	} {
		if got[want.Area][want.Kind] != want.Bytes {
			t.Errorf("%s %s: %d bytes, want %d", want.Area, want.Kind, got[want.Area][want.Kind], want.Bytes)
		}
	}
	if got[audit.Target][audit.Manifest] == 0 {
		t.Error("the manifest is not explained as one")
	}
	if t.Failed() {
		t.Logf("%+v", r.Rows)
	}
}

// write appends to a source, as a program does that opens and closes it.
func write(t *testing.T, in *lifecycle.Instance, name, data string) {
	t.Helper()
	a, err := in.Lookup(in.Root(), name)
	if err != nil {
		a, err = in.Create(in.Root(), name, 0o644, lifecycle.Caller{})
	}
	if err != nil {
		t.Fatal(err)
	}
	use := lifecycle.Use{Write: true}
	if _, err := in.OpenFile(a.Ino, use, lifecycle.Caller{}); err != nil {
		t.Fatal(err)
	}
	f, err := in.Descriptor(a.Ino, os.O_WRONLY|os.O_APPEND)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(data)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	in.Wrote(a.Ino)
	in.Flushed(a.Ino)
	in.ReleaseFile(a.Ino, use)
}

// load is the State of a state directory that nobody uses.
func load(t *testing.T, dir string) audit.State {
	t.Helper()
	j, err := journal.Open(journal.Options{Dir: filepath.Join(dir, "journal")})
	if err != nil {
		t.Fatal(err)
	}
	tree, err := spool.Open(filepath.Join(dir, "spool"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var s audit.State
	err = j.Load(func(r journal.Record) error {
		s.Records = append(s.Records, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Sources, err = audit.Sources(tree); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.Close(), tree.Close()); err != nil {
		t.Fatal(err)
	}
	return s
}

package lifecycle

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
)

// putStore is a store that takes small parts with one call.
func putStore() *mem.Store {
	return mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}})
}

// refuses is a putStore that takes no object of that name while *down.
func refuses(name backend.Key, down *bool) *mem.Store {
	return mem.New(mem.Options{
		Properties: backend.Properties{StageAbove: 1 << 20},
		Before: func(_ context.Context, op mem.Op, k backend.Key) error {
			if *down && op == mem.Put && k == name {
				return fmt.Errorf("down: %w", backend.ErrTransient)
			}
			return nil
		},
	})
}

// fileSink and streamSink are at the root, with keys like the names.
func fileSink() Sink {
	s := streamSink()
	s.File = true
	return s
}

func streamSink() Sink {
	s := DefaultSink()
	s.Assigner = BasePath{}
	return s
}

// killable is an instance that reopen can follow.
func killable(t *testing.T, c *Config) *Instance {
	t.Helper()
	c.StateDir = t.TempDir()
	in, err := Open(t.Context(), *c)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// reopen is the next process after a kill: closing journals nothing.
func reopen(t *testing.T, in *Instance, c Config) *Instance {
	t.Helper()
	if err := in.Close(); err != nil {
		t.Logf("close: %v", err)
	}
	in, err := Open(t.Context(), c)
	if err != nil {
		t.Fatalf("the next mount: %v", err)
	}
	t.Cleanup(func() { _ = in.Close() })
	return in
}

func create(t *testing.T, in *Instance, name string) uint64 {
	t.Helper()
	a, err := in.Create(in.Root(), name, 0o644, Caller{})
	if err != nil {
		t.Error(err)
	}
	return a.Ino
}

// put makes a file and closes it.
func put(t *testing.T, in *Instance, name, data string) (ino uint64) {
	t.Helper()
	ino = create(t, in, name)
	rewrite(t, in, ino, data)
	return ino
}

// rewrite is open with O_TRUNC, write and close of a file.
func rewrite(t *testing.T, in *Instance, ino uint64, data string) {
	t.Helper()
	openFor(t, in, ino, Use{Write: true})
	if _, err := in.Truncate(ino, 0); err != nil {
		t.Error(err)
	}
	appendOnce(t, in, ino, data)
	in.ReleaseFile(ino, Use{Write: true})
}

func openFor(t *testing.T, in *Instance, ino uint64, u Use) {
	t.Helper()
	if _, err := in.OpenFile(ino, u, Caller{}); err != nil {
		t.Error(err)
	}
}

// appendOnce opens, writes past the instance as the kernel does, and closes.
func appendOnce(t *testing.T, in *Instance, ino uint64, text string) {
	t.Helper()
	f, err := in.Descriptor(ino, os.O_WRONLY|os.O_APPEND)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	in.Wrote(ino)
}

// publish is a checkpoint that must succeed.
func publish(t *testing.T, in *Instance) {
	t.Helper()
	if c, err := in.checkpoint(t.Context(), Now); err != nil {
		t.Fatalf("checkpoint %d is %s, failed %v: %v", c.ID, c.State, c.Failed, err)
	}
}

// published are the bodies of all objects, in the order of their keys.
func published(store *mem.Store) string {
	objects := store.Objects()
	var bodies []string
	for _, k := range slices.Sorted(maps.Keys(objects)) {
		bodies = append(bodies, string(objects[k]))
	}
	return strings.Join(bodies, "|")
}

// setDefaultFlag is for a flag that the command line does not set.
func setDefaultFlag(t *testing.T, name, value string) {
	t.Helper()
	f := flag.Lookup(name)
	if f.Value.String() != f.DefValue {
		return
	}
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set(name, f.DefValue) }) // it was that
}

// twoDirs makes d1 and d2, and a.log in the first.
func twoDirs(t *testing.T, in *Instance) (dirs [2]uint64, log uint64) {
	t.Helper()
	for i, name := range []string{"d1", "d2"} {
		d, err := in.Mkdir(t.Context(), in.Root(), name, 0o755, Caller{})
		if err != nil {
			t.Fatal(err)
		}
		dirs[i] = d.Ino
	}
	a, err := in.Create(dirs[0], "a.log", 0o644, Caller{})
	if err != nil {
		t.Fatal(err)
	}
	return dirs, a.Ino
}

// lingers makes a stream that is published and unlinked, and that a program has
// open for reading: exec 3<a.log; rm a.log.
func lingers(t *testing.T, in *Instance) (s *source, ino uint64) {
	t.Helper()
	now := time.Now()
	in.now = func() time.Time { now = now.Add(time.Millisecond); return now }
	ino = create(t, in, "a.log")
	appendOnce(t, in, ino, "one\n")
	publish(t, in)
	openFor(t, in, ino, Use{Read: true})
	if err := in.Unlink(in.Root(), "a.log"); err != nil {
		t.Fatal(err)
	}
	s = in.source(ino)
	for range 2 {
		in.look(s)
	}
	return s, ino
}

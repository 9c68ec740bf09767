package lifecycle

import (
	"context"
	"errors"
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

// TestSourcesExpire a ttl after all of them is finished and nobody has them
// open; what holds bytes that are not finished stays.
func TestSourcesExpire(t *testing.T) {
	in := openInstance(t, Config{Store: mem.New(mem.Options{}), SourceTTL: time.Hour})
	writeOnce(t, in, "finished.log", "one\n")
	if _, err := in.checkpoint(t.Context(), Now); err != nil {
		t.Fatal(err)
	}
	writeOnce(t, in, "open.log", "")
	if _, err := in.OpenFile(in.tree.Lookup(in.tree.Root(), "open.log").ID().Ino, Use{Read: true}, Caller{}); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"empty.log": "", "waits.log": "one\n", "empty.tmp": "", "full.tmp": "one\n"} {
		writeOnce(t, in, name, text)
		in.look(in.source(in.tree.Lookup(in.tree.Root(), name).ID().Ino))
	}
	left := func() []string {
		var names []string
		for _, n := range in.tree.Children(in.tree.Root()) {
			names = append(names, n.Name())
		}
		slices.Sort(names)
		return names
	}
	for _, test := range []struct {
		after time.Duration
		want  []string
	}{
		{59 * time.Minute, []string{"empty.log", "empty.tmp", "finished.log", "full.tmp", "open.log", "waits.log"}},
		{61 * time.Minute, []string{"full.tmp", "open.log", "waits.log"}},
		{120 * time.Minute, []string{"full.tmp", "open.log", "waits.log"}}, // finished at this time
		{181 * time.Minute, []string{"full.tmp", "open.log"}},
	} {
		in.now = func() time.Time { return time.Now().Add(test.after) }
		if test.after == 120*time.Minute {
			publish(t, in)
		}
		in.clean()
		if got := left(); !slices.Equal(got, test.want) {
			t.Errorf("after %v there are %v, want %v", test.after, got, test.want)
		}
	}
}

// TestTimerTakesSettledFiles: a program may come back to a file that it has
// just closed. Who asks takes it at once.
func TestTimerTakesSettledFiles(t *testing.T) {
	for _, test := range []struct {
		trigger Trigger
		after   time.Duration
		want    int
	}{{Timer, 9 * time.Second, 0}, {Policy, 9 * time.Second, 0}, {Timer, 11 * time.Second, 1}, {Policy, 11 * time.Second, 1}, {Now, 0, 1}} {
		store := mem.New(mem.Options{})
		in := openInstance(t, Config{Store: store})
		writeOnce(t, in, "a.gz", "x")
		in.now = func() time.Time { return time.Now().Add(test.after) }
		if _, err := in.checkpoint(t.Context(), test.trigger); err != nil {
			t.Fatal(err)
		}
		if got := len(store.Objects()); got != test.want {
			t.Errorf("%s after %v published %d files, want %d", test.trigger, test.after, got, test.want)
		}
	}
}

// TestWholeFileWhoseNameIsTaken goes beside it, with its extension.
func TestWholeFileWhoseNameIsTaken(t *testing.T) {
	store := mem.New(mem.Options{})
	sink := DefaultSink()
	var err error
	if sink.Assigner, err = NewDateTime("'b'", time.UTC); err != nil {
		t.Fatal(err)
	}
	in := openInstance(t, Config{Store: store, Sinks: []Sink{sink}})
	for _, text := range []string{"first", "second"} {
		for _, name := range []string{"a.gz", "a.tar.gz"} {
			writeOnce(t, in, name, text)
		}
		if _, err := in.checkpoint(t.Context(), Now); err != nil {
			t.Fatal(err)
		}
		in.clean()
	}
	got := map[string]string{}
	walk(t, store, "", func(k backend.Key, content string) {
		name, _, _ := strings.Cut(string(k), in.uid)
		if _, after, ok := strings.Cut(string(k), in.uid); ok {
			_, ext, _ := strings.Cut(after, ".")
			name += "…." + ext
		}
		got[name] = content
	})
	want := map[string]string{"b/a.gz": "first", "b/a.tar.gz": "first", "b/a-….gz": "second", "b/a-….tar.gz": "second"}
	if !maps.Equal(got, want) {
		t.Errorf("published %v, want %v", got, want)
	}
}

// TestChangedBytesAreQuarantined: what was read once must read the same at the
// next try, or it would be published as two different things.
func TestChangedBytesAreQuarantined(t *testing.T) {
	down := true
	c := Config{StateDir: t.TempDir(), CommitTimeout: 10 * time.Millisecond, Store: mem.New(mem.Options{
		Properties: backend.Properties{StageAbove: 1 << 20},
		Before: func(_ context.Context, op mem.Op, _ backend.Key) error {
			if down && op == mem.Put {
				return fmt.Errorf("down: %w", backend.ErrTransient)
			}
			return nil
		},
	})}
	in, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	writeOnce(t, in, "app.log", "one\n")
	if _, err := in.checkpoint(t.Context(), Now); !errors.Is(err, ErrIncomplete) {
		t.Fatalf("checkpoint: %v, want ErrIncomplete", err)
	}
	f, err := in.Descriptor(in.tree.Lookup(in.tree.Root(), "app.log").ID().Ino, os.O_WRONLY)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("two\n"), 0); err != nil { // as a mapping can
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), in.Close()); err != nil {
		t.Fatal(err)
	}
	down = false
	in = openInstance(t, c)
	writeOnce(t, in, "other.log", "fine\n")
	_, err = in.checkpoint(t.Context(), Now)
	if !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), errChanged.Error()) {
		t.Errorf("checkpoint: %v, want it to say what changed", err)
	}
	walk(t, c.Store, "", func(k backend.Key, content string) {
		if content != "fine\n" {
			t.Errorf("%s was published with %q", k, content)
		}
	})
	if n := in.Status().Counts["quarantined"].Parts; n != 1 {
		t.Errorf("%d parts are quarantined, want 1", n)
	}
}

// TestTimesBeyond2262: a program may set any time that the spool's file system
// keeps, and its file is published.
func TestTimesBeyond2262(t *testing.T) {
	store := putStore()
	in := openInstance(t, Config{Store: store, Sinks: []Sink{fileSink()}})
	for i, year := range []int{2300, 9999, 12345} {
		at := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
		a, err := in.SetAttr(put(t, in, fmt.Sprint(i), "file"), SetAttr{Mtime: &at})
		if err != nil || year == 2300 && !a.Stat.Mtime.Equal(at) {
			t.Errorf("mtime is %v, %v", a.Stat.Mtime, err)
		}
	}
	publish(t, in)
	if got := published(store); got != "file|file|file" {
		t.Errorf("published %q", got)
	}
}

// TestRenamedDirectoryMayBeTooLong: a name that no key could be made of is
// refused at the rename of a directory above it too.
func TestRenamedDirectoryMayBeTooLong(t *testing.T) {
	store := mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20, MaxKey: 60}})
	in := openInstance(t, Config{Store: store, Sinks: []Sink{fileSink()}})
	d, err := in.Mkdir(t.Context(), in.Root(), "d", 0o755, Caller{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Create(d.Ino, strings.Repeat("f", 40), 0o644, Caller{}); err != nil {
		t.Fatal(err)
	}
	if err := in.Rename(t.Context(), in.Root(), "d", in.Root(), strings.Repeat("d", 30), false); !errors.Is(err, ErrKeyTooLong) {
		t.Errorf("got %v, want ErrKeyTooLong", err)
	}
	publish(t, in)
	if len(store.Objects()) != 1 {
		t.Errorf("published %v", store.Objects())
	}
}

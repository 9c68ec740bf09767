package lifecycle

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
)

// TestInodeNumberReused: file systems give the number of a removed file to the
// next one at once. Removing the published one must not forget the new one.
func TestInodeNumberReused(t *testing.T) {
	store := mem.New(mem.Options{})
	in := openInstance(t, Config{Store: store})
	const files = 1000
	created := make(chan struct{})
	go func() {
		defer close(created)
		for i := range files {
			if _, err := in.OpenFile(create(t, in, fmt.Sprint(i, ".gz")), Use{Write: true}, Caller{}); err != nil {
				t.Errorf("new file: %v", err)
				return
			}
			a, err := in.Lookup(in.Root(), fmt.Sprint(i, ".gz"))
			if err != nil {
				t.Error(err)
				return
			}
			in.ReleaseFile(a.Ino, Use{Write: true})
		}
	}()
	for more := true; more; {
		select {
		case <-created:
			more = false
		default:
		}
		if _, err := in.checkpoint(t.Context(), Now); err != nil {
			t.Fatal(err)
		}
	}
	published := 0
	walk(t, store, "", func(backend.Key, string) { published++ })
	if published != files {
		t.Errorf("%d files are published, want %d", published, files)
	}
}

// TestOrderOfSourcesOfOneName: their records go out in the order in which they
// were made, also after a restart.
func TestOrderOfSourcesOfOneName(t *testing.T) {
	store := mem.New(mem.Options{})
	c := Config{Store: store, StateDir: t.TempDir()}
	in, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for i := range 20 {
		f, err := in.Descriptor(create(t, in, "log"), os.O_WRONLY|os.O_APPEND)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(f, "%d\n", i)
		fmt.Fprintf(&want, "%d\n", i)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if i < 19 {
			if err := in.Unlink(in.Root(), "log"); err != nil {
				t.Fatal(err)
			}
		}
		nextTick(t)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	in = openInstance(t, c)
	if _, err := in.checkpoint(t.Context(), Now); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	walk(t, store, "", func(_ backend.Key, content string) { got.WriteString(content) })
	if got.String() != want.String() {
		t.Errorf("published %q, want %q", got.String(), want.String())
	}
}

// nextTick waits until the clock of file systems has moved on.
func nextTick(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	made := func() time.Time {
		f, err := os.CreateTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		return info.ModTime()
	}
	for first := made(); !made().After(first); {
	}
}

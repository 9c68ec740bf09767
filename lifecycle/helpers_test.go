package lifecycle

import (
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sinkfs/sinkfs/backend/mem"
)

func fileSink() Sink {
	s := DefaultSink()
	s.File, s.Assigner = true, BasePath{}
	return s
}

func put(t *testing.T, in *Instance, name, data string) uint64 {
	t.Helper()
	ino := create(t, in, name)
	rewrite(t, in, ino, data)
	return ino
}

// rewrite is open(O_WRONLY|O_TRUNC), write, close.
func rewrite(t *testing.T, in *Instance, ino uint64, data string) {
	t.Helper()
	if _, err := in.OpenFile(ino, Use{Write: true}, Caller{}); err != nil {
		t.Error(err)
		return
	}
	if a, _ := in.Attr(ino); a.Kind.String() == "file" {
		if _, err := in.Truncate(ino, 0); err != nil {
			t.Error(err)
		}
	}
	f, err := in.Descriptor(ino, os.O_WRONLY|os.O_APPEND)
	if err == nil {
		_, err = io.WriteString(f, data)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Error(err)
	}
	in.ReleaseFile(ino, Use{Write: true})
}

func appendTo(t *testing.T, in *Instance, ino uint64, data string) {
	t.Helper()
	f, err := in.Descriptor(ino, os.O_WRONLY|os.O_APPEND)
	if err == nil {
		_, err = io.WriteString(f, data)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func all(t *testing.T, store *mem.Store) string {
	objects := store.Objects()
	var got []string
	for _, k := range slices.Sorted(maps.Keys(objects)) {
		t.Logf("object %s: %q", k, objects[k])
		got = append(got, string(objects[k]))
	}
	return strings.Join(got, "|")
}

func reopen(t *testing.T, in *Instance, c Config) *Instance {
	t.Helper()
	if err := in.Close(); err != nil { // journals nothing: as kill -9
		t.Logf("close: %v", err)
	}
	in, err := Open(t.Context(), c)
	if err != nil {
		t.Fatalf("the next mount: %v", err)
	}
	t.Cleanup(func() { _ = in.Close() })
	return in
}

func stream() Sink {
	s := DefaultSink()
	s.Assigner = BasePath{}
	return s
}

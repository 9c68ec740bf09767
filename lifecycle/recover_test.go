package lifecycle

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
)

// TestSpoolFileThatWasCut: appended to, it would hold new bytes where the
// journal has older ones as finished, and they would never be published.
func TestSpoolFileThatWasCut(t *testing.T) {
	store := mem.New(mem.Options{})
	c := Config{Store: store, StateDir: t.TempDir()}
	file := filepath.Join(c.StateDir, "spool", "tree", "a.log")
	session := func(append string) {
		in, err := Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close() //nolint:errcheck // the next one would say it
		if in.tree.Lookup(in.tree.Root(), "a.log") == nil {
			create(t, in, "a.log")
		}
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() //nolint:errcheck // written without a buffer
		if _, err := f.WriteString(append); err != nil {
			t.Fatal(err)
		}
		if _, err := in.checkpoint(t.Context(), Now); err != nil {
			t.Fatal(err)
		}
	}
	session("one\ntwo\n")
	if err := os.Truncate(file, 3); err != nil {
		t.Fatal(err)
	}
	in, err := Open(t.Context(), c)
	if !errors.Is(err, ErrState) || !strings.Contains(err.Error(), "'truncate -s 8'") {
		if in != nil {
			_ = in.Close()
		}
		t.Fatalf("opened with a file that was cut: %v, want ErrState and what to do", err)
	}
	if err := os.Truncate(file, 8); err != nil {
		t.Fatal(err)
	}
	session("three\n")
	var got string
	walk(t, store, "", func(_ backend.Key, content string) { got += content })
	if want := "one\ntwo\nthree\n"; got != want {
		t.Errorf("published %q, want %q", got, want)
	}
}

package stores

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/internal/ossfake"
)

// TestLargeOSS publishes a file of 1 GiB within a bound of memory.
func TestLargeOSS(t *testing.T) {
	s := ossSite{ossfake.New(t, bucket)}
	m := mountOf(t, s)
	m.Start(settings(t, s, s.URL())...)
	f, err := os.Create(m.Path("large.gz"))
	if err != nil {
		t.Fatal(err)
	}
	piece := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
	for range 1024 {
		if _, err := f.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	m.Publish()
	took, peak := time.Since(start), peakMemory(t, m)
	if keys := s.Keys(t, ""); len(keys) != 1 {
		t.Errorf("%q are published, want one file", keys)
	} else if n := len(s.Get(t, keys[0])); n != 1<<30 {
		t.Errorf("%s has %d bytes, want 1 GiB", keys[0], n)
	}
	if peak > 150<<20 {
		t.Errorf("the worker took %d MiB", peak>>20)
	}
	t.Logf("1 GiB published in %v, %d MiB of memory at most", took.Round(time.Millisecond), peak>>20)
}

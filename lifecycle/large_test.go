package lifecycle

import (
	"bytes"
	"context"
	"io"
	"math"
	"path"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/oss"
	"github.com/sinkfs/sinkfs/internal/ossfake"
)

// TestGrowLimit: what a part may come to have is what its size policy says and
// a record, and never more than a store can be asked for.
func TestGrowLimit(t *testing.T) {
	for _, tt := range []struct{ size, want int64 }{
		{128 << 20, 128<<20 + 1<<30}, {5 << 40, 5 << 40}, {math.MaxInt64, 5 << 40},
	} {
		s := Sink{Rolling: Rolling{MaxPartSize: tt.size}}
		if got := growLimit(&s); got != tt.want {
			t.Errorf("growLimit of %d = %d, want %d", tt.size, got, tt.want)
		}
	}
}

// TestPartOfTenThousandParts publishes a file, and a part that grew, that
// 10,000 of the smallest parts of the store do not hold.
func TestPartOfTenThousandParts(t *testing.T) {
	for k, v := range ossfake.Environ() {
		t.Setenv(k, v)
	}
	const smallest, size = 16, 10_000*16*2 + 32
	server := ossfake.New(t, "large-parts")
	server.SetMinPart(smallest)
	store, err := oss.Open(t.Context(), oss.Options{
		Bucket: "large-parts", Region: ossfake.Region, Endpoint: server.URL, PartSize: smallest, StageAbove: 4 * smallest, Memory: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	sink := DefaultSink()
	sink.Assigner = BasePath{}
	dir := t.TempDir()
	in, err := Open(t.Context(), Config{StateDir: dir, Store: store, Target: "oss://large-parts", Sinks: []Sink{sink}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	}()
	text := lines(0, size)
	g := &garden{t: t, in: in}
	f := g.open("app.log")
	for rest := text; rest != ""; rest = rest[min(len(rest), size/20):] { // it grows
		g.write(f, rest[:min(len(rest), size/20)])
	}
	unit := (growLimit(&sink) + 9_999) / 10_000
	g.eventually("it is sent as it grows", func() bool { return g.sent("app.log") >= size/unit*unit })
	writeOnce(t, in, "large.gz", text)
	if _, err := in.Checkpoint(t.Context(), Now); err != nil {
		t.Fatal(err)
	}
	for _, key := range server.Keys("large-parts") {
		r, err := store.Open(t.Context(), backend.Key(key), 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		_ = r.Close() // it was read
		if err != nil || !bytes.Equal(body, []byte(text)) {
			t.Errorf("%s has %d bytes, %v; want %d, or others", path.Base(key), len(body), err, len(text))
		}
	}
	if n := len(server.Keys("large-parts")); n != 2 {
		t.Errorf("%d objects, want 2", n)
	}
}

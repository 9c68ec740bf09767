package lifecycle

import (
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend/mem"
)

// TestTriggerAwaitsWhatItCanPublish: a descriptor that was just closed while
// another is open delays a trigger where its RELEASE may let more be
// published, and nowhere else.
func TestTriggerAwaitsWhatItCanPublish(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for name, want := range map[string]bool{"x.gz": true, "whole.log": false, "x.lock": false, ".x": false} {
		t.Run(name, func(t *testing.T) {
			in := openInstance(t, Config{Store: mem.New(mem.Options{})})
			in.now = func() time.Time { return now }
			ino := create(t, in, name)
			if _, err := in.OpenFile(ino, Use{Write: true}, Caller{}); err != nil {
				t.Fatal(err)
			}
			in.Flushed(ino)
			if got := in.someClosing(); got != want {
				t.Errorf("awaited: %v, want %v", got, want)
			}
			if name != ".x" {
				return
			}
			if err := in.Rename(t.Context(), in.Root(), name, in.Root(), "x.log", false); err != nil {
				t.Fatal(err)
			}
			if !in.someClosing() {
				t.Error("scratch that is to be a stream is not awaited")
			}
		})
	}
}

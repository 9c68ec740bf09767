package lifecycle

import (
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend/mem"
)

// TestClosedFilesAreLeftAlone: what nobody can change any more is not looked
// at again, whatever its kind; streams and scratch that somebody has open are.
func TestClosedFilesAreLeftAlone(t *testing.T) {
	now := time.Now()
	in := openInstance(t, Config{Store: mem.New(mem.Options{})})
	in.now = func() time.Time { return now }
	inos := map[string]uint64{}
	for _, name := range []string{"x.log", "x.gz", "x.lock"} {
		inos[name] = create(t, in, name)
		if _, err := in.OpenFile(inos[name], Use{Write: true}, Caller{}); err != nil {
			t.Fatal(err)
		}
		in.Wrote(inos[name])
	}
	looks := func() (n int) {
		for range 100 {
			s, wait := in.follower.pop(now)
			if s == nil {
				now = now.Add(wait)
				continue
			}
			in.look(s)
			n++
		}
		return n
	}
	if n := looks(); n < 4 {
		t.Errorf("open sources were looked at %d times", n)
	}
	for _, ino := range inos {
		in.ReleaseFile(ino, Use{Write: true})
	}
	now = now.Add(slowest)
	looks()
	if left := len(in.follower.due); left != 0 {
		t.Errorf("%d closed files are still looked at", left)
	}
}

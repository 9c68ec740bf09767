package fusefs

import (
	"errors"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/lifecycle"
)

func TestParseTrigger(t *testing.T) {
	for line, want := range map[string]trigger{
		"":                      {lifecycle.Now, defaultWait},
		"\n":                    {lifecycle.Now, defaultWait},
		"now\n":                 {lifecycle.Now, defaultWait},
		"policy":                {lifecycle.Policy, defaultWait},
		"end timeout=90s\n":     {lifecycle.End, 90 * time.Second},
		"timeout=1h":            {lifecycle.Now, time.Hour},
		"  now\ttimeout=1ms \n": {lifecycle.Now, time.Millisecond},
	} {
		if got, err := parseTrigger([]byte(line)); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", line, got, err, want)
		}
	}
	for _, bad := range []string{
		"timer", "unmount", "NOW", "now\n\n", "now\nend\n", "now now", "timeout=0s", "timeout=-1s", "timeout=5", "timeout=",
		"timeout=1s now", "now timeout=1s timeout=2s", "now\x00", string(make([]byte, 5000)),
	} {
		if got, err := parseTrigger([]byte(bad)); !errors.Is(err, errBadLine) {
			t.Errorf("%q: %v, %v, want an error", bad, got, err)
		}
	}
}

func FuzzParseTrigger(f *testing.F) {
	f.Add([]byte("now timeout=30s\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		got, err := parseTrigger(line)
		if err == nil && (got.wait <= 0 || got.what == lifecycle.Timer || got.what == lifecycle.Unmount) {
			t.Fatalf("%q: %v", line, got)
		}
	})
}

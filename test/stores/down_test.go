package stores

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// TestStoreDown writes on while the store is down, small parts and such as are
// uploaded ahead, and has it all when it is back.
func TestStoreDown(t *testing.T) {
	everywhereAtOnce(t, func(t *testing.T, s site) {
		m := mountOf(t, s)
		m.Start(settings(t, s, s.URL(), "checkpoint: {commit_timeout: 3s}")...)
		large := strings.Repeat("0123456789abcde\n", 20<<16) // 20 MiB
		write(t, m.Path("a.log"), []byte("before\n"))
		m.Publish()
		s.Stop(t)
		write(t, m.Path("large.gz"), []byte(large))
		wantDown(t, m, s)
		s.Run(t)
		wantPublished(t, m)
		s.Stop(t)
		write(t, m.Path("b.log"), []byte("while down\n"))
		wantDown(t, m, s)
		s.Run(t)
		wantPublished(t, m)
		if got := lines(t, s, "prod/"); len(got) != 3 || got["before"] != 1 || got["while down"] != 1 || got["0123456789abcde"] != 20<<16 {
			t.Errorf("published are %d different lines, want 3", len(got))
		}
	})
}

// wantDown has a checkpoint fail, and the status say why and since when.
func wantDown(t *testing.T, m *sinkfstest.Mount, s site) {
	t.Helper()
	since := time.Now()
	if r := sinkfstest.Run(t, "checkpoint", "--timeout", "20s", m.Point); r.Code != 1 {
		t.Errorf("checkpoint ended with %d: %s%s, want 1", r.Code, r.Stdout, r.Stderr)
	}
	got := stateOf(t, m).Target
	if got.State != "down" || !strings.Contains(got.Error, s.URL()) || got.Since.Before(since.Add(-time.Second)) || got.Since.After(time.Now()) {
		t.Errorf("the target is %s since %v: %q, want down since %v and the endpoint", got.State, got.Since, got.Error, since)
	}
}

// wantPublished has all of it published as soon as the store is itself again:
// one that has just come back may ask to be left alone for a while.
func wantPublished(t *testing.T, m *sinkfstest.Mount) {
	t.Helper()
	sinkfstest.Eventually(t, "all is published", func() bool { return sinkfstest.Run(t, "checkpoint", m.Point).Code == 0 })
	if got := stateOf(t, m).Target; got.State != "ok" || got.Error != "" {
		t.Errorf("the target is %s: %q, want ok", got.State, got.Error)
	}
}

// state is what a mount says of itself.
type state struct {
	State  string
	Target struct {
		State, Error string
		Since        time.Time
		CreateOnly   string `json:"create_only"`
	}
}

func stateOf(t *testing.T, m *sinkfstest.Mount) (s state) {
	t.Helper()
	r := sinkfstest.Run(t, "status", "--json", m.Point)
	if err := json.Unmarshal([]byte(r.Stdout), &s); err != nil {
		t.Fatalf("status: %v: %s%s", err, r.Stdout, r.Stderr)
	}
	return s
}

// TestDownAtMount: a store that was never reached is an error within 15 s; one
// that was is waited for, by a mount that is there at once, with and without
// something to finish.
func TestDownAtMount(t *testing.T) {
	everywhere(t, func(t *testing.T, s site) {
		m := mountOf(t, s)
		flags := settings(t, s, s.URL(), quick...)
		sinkfstest.Program(t) // built before the time counts
		s.Stop(t)
		start := time.Now()
		r := sinkfstest.Run(t, append(append([]string{"mount", "-b", "--state-dir", m.State}, flags...), m.Target, m.Point)...)
		if r.Code != 7 || !strings.Contains(r.Stderr, s.URL()) || !strings.Contains(r.Stderr, "nothing listens there") || time.Since(start) > 15*time.Second {
			t.Errorf("mount ended with %d after %v: %s", r.Code, time.Since(start), r.Stderr)
		}
		s.Run(t)
		m.Start(flags...)
		write(t, m.Path("a.log"), []byte("first\n"))
		if r := sinkfstest.Run(t, "umount", m.Point); r.Code != 0 {
			t.Errorf("umount ended with %d: %s, want 0", r.Code, r.Stderr)
		}
		s.Stop(t)
		startRecovering(t, m, flags) // nothing is left to finish
		write(t, m.Path("b.log"), []byte("kept\n"))
		if r := sinkfstest.Run(t, "checkpoint", "--timeout", "20s", m.Point); r.Code != 1 { // it is prepared
			t.Errorf("checkpoint ended with %d: %s%s, want 1", r.Code, r.Stdout, r.Stderr)
		}
		if r := sinkfstest.Run(t, "umount", "--no-drain", m.Point); r.Code != 8 {
			t.Errorf("umount ended with %d: %s, want 8", r.Code, r.Stderr)
		}
		startRecovering(t, m, flags)
		write(t, m.Path("c.log"), []byte("more\n"))
		s.Run(t)
		sinkfstest.Eventually(t, "the mount goes on by itself", func() bool {
			got := stateOf(t, m)
			return got.State == "running" && got.Target.State == "ok"
		})
		wantPublished(t, m)
		if got := lines(t, s, "prod/"); got["first"] != 1 || got["kept"] != 1 || got["more"] != 1 || len(got) != 3 {
			t.Errorf("published are %v", got)
		}
	})
}

// startRecovering mounts while the store is away: that takes no longer than
// otherwise, and the mount says what it waits for.
func startRecovering(t *testing.T, m *sinkfstest.Mount, flags []string) {
	t.Helper()
	start := time.Now()
	sinkfstest.Run(t, "version")
	load := time.Since(start) // a machine that is busy takes longer for everything
	start = time.Now()
	m.Start(flags...)
	took := time.Since(start)
	if limit := 2*time.Second + 5*load; took > limit {
		t.Errorf("the mount took %v, want %v at most", took, limit)
	}
	sinkfstest.Eventually(t, "the mount says that the store is down", func() bool { return stateOf(t, m).Target.State == "down" })
	got := stateOf(t, m)
	if got.State != "recovering" || !strings.Contains(got.Target.Error, "nothing listens there") || got.Target.Since.Before(start.Add(-time.Second)) {
		t.Errorf("the mount is %s, the target %q since %v; want recovering, and why", got.State, got.Target.Error, got.Target.Since)
	}
	t.Logf("mounted in %v while the store is away", took.Round(time.Millisecond))
}

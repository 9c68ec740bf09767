package stores

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sinkfs/sinkfs/internal/fault"
	"github.com/sinkfs/sinkfs/internal/faultproxy"
	"github.com/sinkfs/sinkfs/internal/sinkfstest"
	"github.com/sinkfs/sinkfs/test/harness"
)

var fsckPending = regexp.MustCompile(`uploads +pending +1`)

// stream appends lines of 64 bytes and remembers how many.
type stream struct {
	f *os.File
	n int
}

func openStream(t *testing.T, m *sinkfstest.Mount) *stream {
	t.Helper()
	f, err := os.OpenFile(m.Path("app.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return &stream{f: f}
}

// write appends that many MiB.
func (s *stream) write(t *testing.T, mib int) {
	t.Helper()
	for range mib {
		var text strings.Builder
		for range 1 << 20 / 64 {
			fmt.Fprintf(&text, "line %058d\n", s.n)
			s.n++
		}
		if _, err := s.f.WriteString(text.String()); err != nil {
			t.Fatalf("a writer noticed: %v", err)
		}
	}
}

// published has each line be there once.
func (s *stream) published(t *testing.T, at site, prefix string) {
	t.Helper()
	got := lines(t, at, prefix+"/")
	maps.DeleteFunc(got, func(line string, _ int) bool { return strings.HasPrefix(line, "sinkfs makes this object") }) // the probe of a worker that begins
	if n := count(got, "line "); n != s.n || len(got) != s.n {
		t.Errorf("%d lines are published once, %d in all, want %d", n, len(got), s.n)
		for line, times := range got {
			if len(line) != 63 || times != 1 {
				t.Errorf("%q is published %d times", line, times)
			}
		}
		for _, key := range at.Keys(t, "") {
			t.Logf("%s has %d bytes", key, len(at.Get(t, key)))
		}
	}
}

// sendingParts counts the parts that pass the proxy, which counts from here
// on.
func sendingParts(proxy *faultproxy.Proxy) func() int {
	proxy.Calls()
	n := 0
	return func() int {
		n += proxy.Calls()[faultproxy.Part]
		return n
	}
}

// TestGrowingPart uploads a part while it grows: at the checkpoint only its
// rest is sent, and before it nothing is seen.
func TestGrowingPart(t *testing.T) {
	everywhere(t, func(t *testing.T, s site) {
		proxy := faultproxy.New(t, s.URL())
		m := mountOf(t, s)
		m.Start(settings(t, s, proxy.URL)...)
		parts := sendingParts(proxy)
		out := openStream(t, m)
		out.write(t, 40)
		sinkfstest.Eventually(t, "five parts of 8 MiB are sent", func() bool { return parts() == 5 })
		out.write(t, 9)
		sinkfstest.Eventually(t, "another one is", func() bool { return parts() == 6 })
		if keys := s.Keys(t, ""); len(keys) != 0 {
			t.Errorf("%q are listed before the checkpoint", keys)
		}
		if r := sinkfstest.Run(t, "fsck", m.Point); r.Code != 0 || !fsckPending.MatchString(r.Stdout) {
			t.Errorf("fsck ended with %d: %s%s", r.Code, r.Stdout, r.Stderr)
		}
		if r := sinkfstest.Run(t, "gc", "--delete", m.Point); r.Code != 0 {
			t.Errorf("gc ended with %d: %s%s", r.Code, r.Stdout, r.Stderr)
		}
		proxy.Calls()
		m.Publish()
		if calls := proxy.Calls(); calls[faultproxy.Part] != 1 || calls[faultproxy.Begin] != 0 || calls[faultproxy.Complete] != 1 {
			t.Errorf("the checkpoint made the calls %v, want the last part and the end of the upload", calls)
		}
		if keys := s.Keys(t, ""); len(keys) != 1 {
			t.Errorf("%q are published, want one part", keys)
		}
		out.published(t, s, "prod")
		tidy(t, s, m)
	})
}

// TestGrowingPartAtFaultPoints kills the worker, and fails, at each instant of
// a part that is uploaded while it grows. What an upload was begun for and not
// sealed the next worker aborts by itself.
func TestGrowingPartAtFaultPoints(t *testing.T) {
	everywhereAtOnce(t, func(t *testing.T, s site) {
		for _, p := range fault.GrowPoints() {
			for _, action := range []string{"kill", "error"} {
				if _, isOSS := s.(ossSite); !isOSS && (action == "error" || p == fault.GrowClaimed) {
					continue // the same for all
				}
				t.Run(fmt.Sprint(p, " ", action), func(t *testing.T) { injureGrowing(t, s, p, action) })
			}
		}
	})
}

func injureGrowing(t *testing.T, s site, p fault.Point, action string) {
	proxy := faultproxy.New(t, s.URL())
	target, _ := s.Mount(proxy.URL)
	prefix := strings.ReplaceAll(string(p), ".", "-") + "-" + action
	m := sinkfstest.At(t, strings.TrimSuffix(target, "prod")+prefix)
	once := filepath.Join(m.Dir, "once")
	line := append([]string{"mount", "-b", "--state-dir", m.State, "--checkpoint-interval", "0"}, settings(t, s, proxy.URL)...)
	cmd := exec.Command(harness.Binary(t, "faults"), append(line, m.Target, m.Point)...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s=%s@1", fault.Env, p, action), fault.OnceEnv+"="+once)
	if r := sinkfstest.Command(t, cmd); r.Code != 0 {
		t.Fatalf("mount ended with %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	parts := sendingParts(proxy)
	out := openStream(t, m)
	out.write(t, 26)
	switch p {
	case fault.GrowEnded:
		sinkfstest.Eventually(t, "three parts are sent", func() bool { return parts() == 3 })
		sinkfstest.Run(t, "checkpoint", m.Point)
	case fault.GrowAbort: // the next worker has something to abort
		sinkfstest.Eventually(t, "three parts are sent", func() bool { return parts() == 3 })
		m.KillWorker()
	}
	sinkfstest.Eventually(t, "the fault happened", func() bool {
		_, err := os.Stat(once)
		return !errors.Is(err, fs.ErrNotExist)
	})
	out.write(t, 8)
	for try := 0; ; try++ { // what failed at a checkpoint goes to the next
		r := sinkfstest.Run(t, "checkpoint", m.Point)
		if r.Code == 0 {
			break
		}
		if try == 3 {
			t.Fatalf("checkpoint ended with %d: %s%s", r.Code, r.Stdout, r.Stderr)
		}
	}
	out.published(t, s, prefix)
	if _, isOSS := s.(ossSite); isOSS { // the others do not tell of all
		sinkfstest.Eventually(t, "no upload is left, without gc", func() bool { return s.Uploads(t) == 0 })
	}
	tidy(t, s, m)
	m.Publish()
}

package stores

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// TestForeign has another program write below the prefix, before the mount,
// while it publishes, and at the very keys that its parts are about to take:
// the mount lists what it wrote, and neither overwrites anything of the other.
func TestForeign(t *testing.T) {
	everywhere(t, func(t *testing.T, s site) {
		theirs := map[string]string{"theirs/x.gz": "theirs", "top.csv": "a,b\n"}
		for key, body := range theirs {
			s.Put(t, "prod/"+key, []byte(body))
		}
		m := mountOf(t, s)
		m.Start(settings(t, s, s.URL(), "sinks: [{path: /, bucket: {assigner: base-path}}, {path: /files, kind: file}]")...)
		if err := os.WriteFile(m.Path("theirs", "x.gz"), []byte("ours"), 0o640); err == nil {
			t.Error("their file could be opened for write")
		}
		if err := os.MkdirAll(m.Path("files"), 0o755); err != nil {
			t.Fatal(err)
		}
		const rounds = 10
		for i := range rounds {
			write(t, m.Path("app.log"), fmt.Appendf(nil, "ours %d\n", i))
			if i%3 == 0 { // the next part of the mount goes there
				key := nextKey(t, m)
				theirs[key] = fmt.Sprintf("theirs %d\n", i)
				s.Put(t, "prod/"+key, []byte(theirs[key]))
			}
			key := fmt.Sprintf("theirs/%d.csv", i)
			theirs[key] = strings.Repeat("x", i)
			s.Put(t, "prod/"+key, []byte(theirs[key]))
			m.Publish()
		}
		// A file of a file sink has no other name: it waits, and says why.
		write(t, m.Path("files", "report.gz"), []byte("ours"))
		theirs["files/report.gz"] = "theirs"
		s.Put(t, "prod/files/report.gz", []byte("theirs"))
		if r := sinkfstest.Run(t, "checkpoint", m.Point); r.Code != 1 || !strings.Contains(r.Stdout+r.Stderr, "another object has this key") {
			t.Errorf("checkpoint ended with %d: %s%s, want 1 and why", r.Code, r.Stdout, r.Stderr)
		}
		if err := os.Rename(m.Path("files", "report.gz"), m.Path("files", "ours.gz")); err != nil { // as it says
			t.Fatal(err)
		}
		m.Publish()
		if got := s.Get(t, "prod/files/ours.gz"); string(got) != "ours" {
			t.Errorf("our file is %q", got)
		}
		got := lines(t, s, "prod/")
		for i := range rounds {
			if got[fmt.Sprintf("ours %d", i)] != 1 {
				t.Errorf("line %d of ours is published %d times", i, got[fmt.Sprintf("ours %d", i)])
			}
		}
		for key, body := range theirs {
			if object := s.Get(t, "prod/"+key); string(object) != body {
				t.Errorf("their object %s is %q, want %q", key, object, body)
			}
			sinkfstest.Eventually(t, key+" reads as they wrote it", func() bool {
				seen, err := os.ReadFile(m.Path(key))
				return err == nil && string(seen) == body
			})
		}
		wantListed(t, s, m)
	})
}

// nextKey is where the mount is about to publish its part.
func nextKey(t *testing.T, m *sinkfstest.Mount) string {
	t.Helper()
	var n int
	var uid string
	r := sinkfstest.Run(t, "status", "--json", m.Point)
	var status struct{ Instance string }
	if err := json.Unmarshal([]byte(r.Stdout), &status); err != nil {
		t.Fatal(err)
	}
	uid = status.Instance
	for line := range strings.Lines(sinkfstest.Run(t, "parts", "--json", m.Point).Stdout) {
		var p struct{ Key string }
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatal(err)
		}
		if _, number, ok := strings.Cut(p.Key, "part-"+uid+"-"); ok {
			var last int
			if _, err := fmt.Sscanf(number, "%d", &last); err != nil {
				t.Fatal(err)
			}
			n = max(n, last+1)
		}
	}
	return fmt.Sprintf("part-%s-%d", uid, n)
}

// wantListed wants a mount to list exactly the objects there are, soon.
func wantListed(t *testing.T, s site, m *sinkfstest.Mount) {
	t.Helper()
	want := map[string]bool{}
	for _, key := range s.Keys(t, "prod/") {
		if !strings.HasPrefix(key, "_sinkfs/") {
			want[key] = true
		}
	}
	start := time.Now()
	sinkfstest.Eventually(t, "the mount lists the objects there are", func() bool {
		seen := walk(t, m)
		for key := range want {
			if !seen[key] {
				return false
			}
		}
		return len(seen) == len(want)
	})
	t.Logf("%d objects are listed, after %v", len(want), time.Since(start).Round(time.Millisecond))
}

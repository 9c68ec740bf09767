package stores

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/internal/faultproxy"
	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// TestFaults has every call of a mount fail in every way, while it publishes
// and is read. Nobody notices but by the time it takes; in the end everything
// is there once and explained.
func TestFaults(t *testing.T) {
	everywhereAtOnce(t, func(t *testing.T, s site) {
		proxy := faultproxy.New(t, s.URL())
		m := mountOf(t, s)
		m.Start(settings(t, s, proxy.URL, "checkpoint: {commit_timeout: 5s}")...)
		calls := []faultproxy.Call{faultproxy.Put, faultproxy.Begin, faultproxy.Part, faultproxy.Complete, faultproxy.Head, faultproxy.Get, faultproxy.List}
		var table strings.Builder
		cases := 0
		for _, call := range calls {
			fmt.Fprintf(&table, "\n%-9s", call)
			for _, fault := range faultsOf(s, call) {
				took := suffer(t, s, m, proxy, call, fault)
				fmt.Fprintf(&table, " %s %d ms,", fault, took.Milliseconds())
				cases++
			}
		}
		t.Logf("%d cases of call and fault, each with the time to publish%s", cases, table.String())
		got := lines(t, s, "prod/")
		for _, what := range []string{"line ", "file "} {
			if n := count(got, what); n != cases {
				t.Errorf("%d of %q are published, want %d once each", n, what, cases)
			}
		}
		tidy(t, s, m)
	})
}

// faultsOf are those that a call can have: S3 says yes and means no at the end
// of an upload only.
func faultsOf(s site, call faultproxy.Call) []faultproxy.Fault {
	faults := faultproxy.Faults()
	if _, ok := s.(ossSite); ok && call != faultproxy.Get || call == faultproxy.Complete {
		faults = append(faults, faultproxy.ErrorIn200)
	}
	return faults
}

// count is how many records with the prefix are there, -1 when one is there
// twice.
func count(records map[string]int, prefix string) (n int) {
	for r, times := range records {
		if strings.HasPrefix(r, prefix) {
			if times != 1 {
				return -1
			}
			n++
		}
	}
	return n
}

// suffer publishes a line, and a staged file where the call is one of
// staging, and reads what is new, all under one fault.
func suffer(t *testing.T, s site, m *sinkfstest.Mount, proxy *faultproxy.Proxy, call faultproxy.Call, fault faultproxy.Fault) time.Duration {
	t.Helper()
	name := fmt.Sprintf("%s-%s", call, fault)
	proxy.Set(faultproxy.Rule{Call: call, Fault: fault, Count: 2})
	line := []byte("line " + name + "\n")
	f, err := os.OpenFile(m.Path("app.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(line); err != nil {
		t.Errorf("%s: a writer noticed: %v", name, err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("%s: a writer noticed: %v", name, err)
	}
	body := []byte("file " + name)
	switch call {
	case faultproxy.Begin, faultproxy.Part, faultproxy.Complete:
		body = append(bytes.Repeat([]byte("0123456789abcde\n"), 17<<16), body...)
	}
	if err := os.Mkdir(m.Path(name), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, m.Path(name, name+".gz"), body) // in a directory that nobody has listed yet
	start := time.Now()
	r := sinkfstest.Run(t, "checkpoint", m.Point)
	for try := 0; r.Code != 0 && try < 3; try++ { // a part that could not be staged goes to the next
		r = sinkfstest.Run(t, "checkpoint", m.Point)
	}
	took := time.Since(start)
	if r.Code != 0 {
		t.Errorf("%s: checkpoint ended with %d: %s%s", name, r.Code, r.Stdout, r.Stderr)
	}
	keys := slices.DeleteFunc(s.Keys(t, "prod/"), func(key string) bool { return !strings.HasSuffix(key, "/"+name+".gz") })
	if len(keys) != 1 {
		t.Errorf("%s: its file is published %d times", name, len(keys))
	}
	for _, key := range keys {
		path := m.Path(key)
		sinkfstest.Eventually(t, name+": its file reads as it was written", func() bool { // a reader tries again
			seen, err := os.ReadFile(path)
			return err == nil && bytes.Equal(seen, body)
		})
		sinkfstest.Eventually(t, name+": its file is listed", func() bool {
			entries, err := os.ReadDir(filepath.Dir(path))
			return err == nil && slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == filepath.Base(path) }) && proxy.Hits() > 0
		})
	}
	proxy.Set()
	return took
}

package stores

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/internal/faultproxy"
	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// walk are the files that a mount lists.
func walk(t *testing.T, m *sinkfstest.Mount) map[string]bool {
	t.Helper()
	seen := map[string]bool{}
	err := filepath.WalkDir(m.Point, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			seen[strings.TrimPrefix(path, m.Point+"/")] = true
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return seen
}

// host is one mount of several on one prefix.
type host struct {
	*sinkfstest.Mount
	t     *testing.T
	name  string
	proxy *faultproxy.Proxy
}

// run runs a command that has to succeed, on any goroutine.
func (h host) run(args ...string) {
	h.t.Helper()
	if r := sinkfstest.Run(h.t, append(args, h.Point)...); r.Code != 0 {
		h.t.Errorf("%s: %v ended with %d: %s%s", h.name, args, r.Code, r.Stdout, r.Stderr)
	}
}

// append writes lines to a log that every host has, and a file by a name that
// every host uses.
func (h host) append(round, times int) {
	h.t.Helper()
	f, err := os.OpenFile(h.Path("app.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err == nil {
		_, err = f.WriteString(strings.Repeat(h.line(round), times))
		err = errors.Join(err, f.Close())
	}
	err = errors.Join(err, os.WriteFile(h.Path(fmt.Sprintf("same-%d.gz", round)), []byte(h.line(round)), 0o640))
	if err != nil {
		h.t.Errorf("%s noticed: %v", h.name, err)
	}
}

func (h host) line(round int) string {
	return fmt.Sprintf("%s round %d%s\n", h.name, round, strings.Repeat(".", 100))
}

// TestManyHosts has several mounts with state directories of their own write
// to one prefix at once, under the same names too, and each tidy up while the
// others upload: nothing clashes, nobody removes what is another's, and each
// lists all of it.
func TestManyHosts(t *testing.T) {
	everywhere(t, func(t *testing.T, s site) {
		const many, rounds, large = 3, 3, 170_000 // lines: uploaded in parts
		hosts := make([]host, many)
		for i := range hosts {
			p := faultproxy.New(t, s.URL())
			hosts[i] = host{mountOf(t, s), t, fmt.Sprintf("host%d", i), p}
			hosts[i].Start(settings(t, s, p.URL, "checkpoint: {commit_timeout: 20s}")...)
		}
		var g sync.WaitGroup
		for _, h := range hosts {
			g.Go(func() {
				for round := range rounds {
					h.append(round, 1+large*(round%2))
					h.run("checkpoint")
					h.run("gc", "--delete")
				}
			})
		}
		g.Wait()
		h, other := hosts[0], hosts[1]
		h.proxy.SetDelay(2 * time.Second) // its upload is under way while the other tidies up
		h.proxy.Set(faultproxy.Rule{Call: faultproxy.Part, Fault: faultproxy.Delay}, faultproxy.Rule{Call: faultproxy.Complete, Fault: faultproxy.Delay})
		h.proxy.Calls()
		h.append(rounds, large)
		done := make(chan struct{})
		go func() { defer close(done); h.run("checkpoint") }()
		sinkfstest.Eventually(t, "an upload is under way", func() bool { return h.proxy.Calls()[faultproxy.Part] > 0 })
		other.run("gc", "--delete")
		select {
		case <-done:
			t.Error("the upload was over before another host had tidied up: this shows nothing")
		default:
		}
		<-done
		h.proxy.Set()
		got := lines(t, s, "prod/")
		for i, h := range hosts {
			for round := range rounds {
				if want := 2 + large*(round%2); got[strings.TrimSpace(h.line(round))] != want {
					t.Errorf("%d lines of %s in round %d are published, want %d", got[strings.TrimSpace(h.line(round))], h.name, round, want)
				}
			}
			if n := got[strings.TrimSpace(h.line(rounds))]; i == 0 && n != large+1 {
				t.Errorf("%d lines of the last round are published, want %d", n, large+1)
			}
			log, err := os.ReadFile(filepath.Join(h.State, "log"))
			if err != nil || strings.Contains(string(log), "staging again") {
				t.Errorf("another removed an upload of %s: %v\n%s", h.name, err, log)
			}
			wantListed(t, s, h.Mount)
			tidy(t, s, h.Mount)
		}
	})
}

package stores

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// TestOutage has a writer of 10 MB/s go on while the store is away: it
// notices nothing, and all is published soon after the store is back.
func TestOutage(t *testing.T) {
	each(t, func(t *testing.T, s store) {
		const away = 10 * time.Second
		file := filepath.Join(t.TempDir(), "sinkfs.yaml")
		text := fmt.Sprintf(`
store: {s3: {endpoint: %q, path_style: true}}
checkpoint: {commit_timeout: 5s, interval: 1s}
sinks: [{path: /, rolling: {on_checkpoint: true}}]
`, s.URL)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		m := sinkfstest.At(t, "s3://"+bucket+"/prod")
		m.Start("-c", file, "--checkpoint-interval", "1s")
		w := startWriter(t, m.Path("app.log"))
		w.until(t, 3<<20)
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		gone := time.Now()
		sinkfstest.Eventually(t, "the mount says that the store is down", func() bool {
			state, _ := target(t, m)
			return state == "down"
		})
		w.until(t, w.written()+int64(away.Seconds())*10e6)
		if err := s.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		outage, back := time.Since(gone), time.Now()
		lines := w.stop(t)
		sinkfstest.Eventually(t, "all is published", func() bool {
			return sinkfstest.Run(t, "checkpoint", m.Point).Code == 0
		})
		drained := time.Since(back)
		got := count(s.records(t, "prod/"), "line ")
		if got != lines {
			t.Errorf("%d lines are published, want %d once each", got, lines)
		}
		if drained > 2*outage {
			t.Errorf("all was published %v after an outage of %v", drained, outage)
		}
		peak := peakMemory(t, m)
		if peak > 250<<20 {
			t.Errorf("the worker took %d MiB", peak>>20)
		}
		t.Logf("%s: outage of %v, all published %v after it, %d MiB of memory at most", s.Kind.Name, outage.Round(time.Millisecond), drained.Round(time.Millisecond), peak>>20)
		s.collect(t, m)
	})
}

// peakMemory is the most that the worker ever had.
func peakMemory(t *testing.T, m *sinkfstest.Mount) int64 {
	t.Helper()
	pids := workers(t, m)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pids[len(pids)-1]))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// writer appends lines, 1 MB every 100 ms.
type writer struct {
	end  chan struct{}
	sent chan int64 // bytes so far, the newest
	done chan result
	last int64
}

type result struct {
	lines int
	err   error
}

func startWriter(t *testing.T, path string) *writer {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{end: make(chan struct{}), sent: make(chan int64, 1), done: make(chan result, 1)}
	go func() { // ends with end
		defer f.Close()
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		lines, bytesSent := 0, int64(0)
		for {
			var text bytes.Buffer
			for text.Len() < 1e6 {
				fmt.Fprintf(&text, "line %d %0100d\n", lines, lines)
				lines++
			}
			n, err := f.Write(text.Bytes())
			if bytesSent += int64(n); err != nil {
				w.done <- result{lines, err}
				return
			}
			select {
			case <-w.sent:
			default:
			}
			w.sent <- bytesSent
			select {
			case <-tick.C:
			case <-w.end:
				w.done <- result{lines, nil}
				return
			}
		}
	}()
	return w
}

func (w *writer) written() int64 { return w.last }

// until waits for so many bytes.
func (w *writer) until(t *testing.T, n int64) {
	t.Helper()
	for w.last < n {
		select {
		case w.last = <-w.sent:
		case r := <-w.done:
			t.Fatalf("the writer noticed: %v", r.err)
		case <-time.After(30 * time.Second):
			t.Fatal("the writer is stuck")
		}
	}
}

func (w *writer) stop(t *testing.T) (lines int) {
	t.Helper()
	close(w.end)
	r := <-w.done
	if r.err != nil {
		t.Errorf("the writer noticed: %v", r.err)
	}
	return r.lines
}

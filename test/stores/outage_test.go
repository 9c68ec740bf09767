package stores

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// TestOutage has a writer of 10 MB/s go on while the store is away: it
// notices nothing, all is published soon after the store is back, and the
// worker needs no more memory for it than before.
func TestOutage(t *testing.T) {
	everywhere(t, func(t *testing.T, s site) {
		m := mountOf(t, s)
		m.Start(append(settings(t, s, s.URL(), quick...), "--checkpoint-interval", "1s")...)
		w := startWriter(t, m.Path("app.log"))
		w.until(t, 3<<20)
		s.Stop(t)
		gone := time.Now()
		sinkfstest.Eventually(t, "the mount says that the store is down", func() bool {
			return stateOf(t, m).Target.State == "down"
		})
		before, wanted := w.written(), int64(given.away.Seconds()*10e6)
		w.until(t, before+wanted/3)
		early := memory(t, m, "VmRSS:")
		w.until(t, before+wanted)
		late := memory(t, m, "VmRSS:")
		s.Run(t)
		outage, back := time.Since(gone), time.Now()
		written := w.stop(t)
		sinkfstest.Eventually(t, "all is published", func() bool {
			return sinkfstest.Run(t, "checkpoint", m.Point).Code == 0
		})
		drained, peak := time.Since(back), memory(t, m, "VmHWM:")
		w.check(t, s, written)
		if drained > max(2*outage, outage+patience) {
			t.Errorf("all was published %v after an outage of %v", drained, outage)
		}
		if late > early+32<<20 || peak > 150<<20 {
			t.Errorf("the worker took %d MiB early in the outage, %d MiB late in it, %d MiB at most: that is not flat", early>>20, late>>20, peak>>20)
		}
		t.Logf("outage of %v, %d MB written in it, all published %v after it; memory %d MiB early in it, %d MiB late in it, %d MiB at most",
			outage.Round(time.Millisecond), (w.written()-before)/1e6, drained.Round(time.Millisecond), early>>20, late>>20, peak>>20)
		tidy(t, s, m)
	})
}

// patience is how long a store may ask to be left alone: MinIO does when it
// has just started.
const patience = 40 * time.Second

// peakMemory is the most that the worker ever had.
func peakMemory(t *testing.T, m *sinkfstest.Mount) int64 {
	t.Helper()
	return memory(t, m, "VmHWM:")
}

// memory is what the kernel says of the worker's.
func memory(t *testing.T, m *sinkfstest.Mount, which string) int64 {
	t.Helper()
	pids := workers(t, m)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pids[len(pids)-1]))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, which); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no %s", which)
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

// check wants every line in the store once.
func (w *writer) check(t *testing.T, s site, lines int) {
	t.Helper()
	times := make([]uint8, lines)
	for _, key := range s.Keys(t, "prod/") {
		for line := range bytes.Lines(s.Get(t, "prod/"+key)) {
			number, zeros, _ := strings.Cut(strings.TrimPrefix(string(line), "line "), " ")
			n, err := strconv.Atoi(number)
			if err != nil || n < 0 || n >= lines || len(zeros) != 101 {
				t.Fatalf("%s has a line that nobody wrote: %q", key, line)
			}
			times[n]++
		}
	}
	wrong := 0
	for _, n := range times {
		if n != 1 {
			wrong++
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d lines are not published once", wrong, lines)
	}
}

// stopAndPublish ends the writer and has all of it published.
func (w *writer) stopAndPublish(t *testing.T, m *sinkfstest.Mount) (lines int) {
	t.Helper()
	lines = w.stop(t)
	m.Publish()
	return lines
}

package journal_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

func TestSizeStaysBoundedUnderOverwritesAndDrops(t *testing.T) {
	const limit = 60 << 20
	dir := t.TempDir()
	j := open(t, dir)
	var most int64
	for round := range 100 {
		rs := make([]journal.Record, 0, 2000)
		for i := range 1000 {
			n := uint64(round*1000 + i)
			rs = append(rs, journal.Counter{Sink: fmt.Sprint("/", i%10), Next: n})
			if p := part(n, 2); i%2 == 0 {
				rs = append(rs, p, journal.DropPart{ID: n - 2})
			}
		}
		must(t, j.Write(rs...))
		most = max(most, j.Size())
	}
	if most == 0 || most > limit {
		t.Errorf("after overwrites the journal took %d bytes, want at most %d", most, limit)
	}
	must(t, j.Close())
	j = open(t, dir)
	if got := len(loadAll(t, j)); got != 11 {
		t.Errorf("got %d records, want 11", got)
	}
	t.Logf("at most %d bytes, at the end %d", most, j.Size())
}

func TestLargeRecordsAndLargeCalls(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	big := journal.Checkpoint{ID: 1, Error: noise(1) + noise(2) + noise(3) + noise(4)} // does not compress: ten pieces
	wide := part(1, 10_000)
	want := []journal.Record{big}
	call := []journal.Record{big}
	for id := range uint64(20_000) { // several transactions
		want, call = append(want, part(id+10, 1)), append(call, part(id+10, 1))
	}
	want = slices.Insert(want, 1, journal.Record(wide))
	must(t, j.Write(append(call, wide)...))
	if diff := cmp.Diff(want, loadAll(t, j)); diff != "" {
		t.Fatalf("(-want +got):\n%.2000s", diff)
	}

	// overwritten in another number of pieces, and back to one
	for _, text := range []string{noise(5) + noise(6), "", noise(7) + noise(8) + noise(9)} {
		big.Error, want[0] = text, journal.Checkpoint{ID: 1, Error: text}
		must(t, j.Write(big))
	}
	must(t, j.Close())
	j = open(t, dir)
	if diff := cmp.Diff(want, loadAll(t, j)); diff != "" {
		t.Fatalf("after reopening (-want +got):\n%.2000s", diff)
	}
}

// TestSizesAroundWhatATransactionTakes: Badger refuses a transaction that is
// too large; ours must never be.
func TestSizesAroundWhatATransactionTakes(t *testing.T) {
	j := open(t, t.TempDir())
	id := uint64(0)
	for _, size := range []int{100, 4 << 10, 120 << 10, 256 << 10, 300 << 10, 400 << 10, 1 << 20} {
		text := strings.Repeat(noise(id), 2)[:size]
		for _, count := range []int{1, 2, 3, 7, 40} {
			if size*count > 8<<20 {
				continue
			}
			var rs []journal.Record
			for range count {
				id++
				rs = append(rs, journal.Checkpoint{ID: id, Error: text})
			}
			must(t, j.Write(rs...))
		}
	}
	var drops []journal.Record
	for i := range id {
		drops = append(drops, journal.DropCheckpoint{ID: i + 1})
	}
	for i := range uint64(9000) {
		drops = append(drops, journal.Counter{Sink: fmt.Sprint(i)})
	}
	must(t, j.Write(drops...))
	if got := len(loadAll(t, j)); got != 9000 {
		t.Errorf("got %d records, want 9000", got)
	}
}

func TestConcurrentWritesShareSyncs(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	const callers, calls = 64, 40
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range uint64(calls) {
				if err := j.Write(journal.Counter{Sink: fmt.Sprint(c), Next: i}, part(uint64(c)<<8|i, 1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got, want := len(loadAll(t, j)), callers+callers*calls; got != want {
		t.Errorf("got %d records, want %d", got, want)
	}
	must(t, j.Close())
	report, err := journal.Verify(dir)
	must(t, err)
	if got := report.Seq; got > callers*calls/4 {
		t.Errorf("%d calls of %d callers took %d transactions: they do not share", callers*calls, callers, got)
	}
}

func TestOpeningTenThousandPartsIsQuick(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	var rs []journal.Record
	for id := range uint64(10_000) {
		rs = append(rs, part(id, 3))
	}
	must(t, j.Write(rs...))
	quickest := time.Hour
	for range 5 { // one of them is left alone by the machine's other work
		must(t, j.Close())
		start := time.Now()
		j = open(t, dir)
		if got := len(loadAll(t, j)); got != len(rs) {
			t.Errorf("got %d records, want %d", got, len(rs))
		}
		quickest = min(quickest, time.Since(start))
	}
	if quickest > 2*time.Second { // on a quiet machine 0.3 s
		t.Errorf("open and load took %v", quickest)
	}
}

func TestIdleJournalTakesLittleMemory(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	var rs []journal.Record
	for id := range uint64(10_000) {
		rs = append(rs, part(id, 3))
	}
	must(t, j.Write(rs...))
	must(t, j.Close())
	cmd := child(t, "hold", dir)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "open\n" {
		t.Fatal(line, err)
	}
	status, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(cmd.Process.Pid), "status"))
	must(t, err)
	var kib int
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			_, err = fmt.Sscan(rest, &kib)
			must(t, err)
		}
	}
	if kib == 0 || kib > idleMiB<<10 {
		t.Errorf("resident memory of an idle journal: %d KiB, want at most %d MiB", kib, idleMiB)
	}
	must(t, in.Close())
	must(t, cmd.Wait())
}

func BenchmarkWrite(b *testing.B) {
	j, err := journal.Open(journal.Options{Dir: b.TempDir(), MinFree: 1})
	if err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		if err := j.Write(part(uint64(len(took))%100, 2)); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
}

package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// row is one line of the table.
type row struct {
	what     string
	goal     string
	measured string
	ratio    string // and to what
	met      bool
}

// table prints rows as they are known: a run takes minutes.
type table struct {
	out    io.Writer
	dir    string
	missed []string
	rows   int
}

func newTable(out io.Writer, dir string) *table { return &table{out: out, dir: dir} }

const tableLine = "| %-52s | %-22s | %-26s | %-38s | %-6s |\n"

func (t *table) printf(format string, args ...any) {
	fmt.Fprintf(t.out, format, args...) //nolint:errcheck // a closed stdout is the caller's wish
}

func (t *table) head() {
	t.printf("%s\n\n", machine(t.dir))
	t.printf(tableLine, "", "goal", "measured", "ratio", "")
	dash := func(n int) string { return strings.Repeat("-", n) }
	t.printf(tableLine, dash(52), dash(22), dash(26), dash(38), dash(6))
}

func (t *table) add(r row) {
	verdict := "met"
	if !r.met {
		verdict = "MISSED"
		t.missed = append(t.missed, r.what)
	}
	t.rows++
	t.printf(tableLine, r.what, r.goal, r.measured, r.ratio, verdict)
}

func (t *table) foot() {
	if len(t.missed) == 0 {
		t.printf("\nAll %d goals are met. Load at the end: %s.\n", t.rows, load())
		return
	}
	t.printf("\n%d of %d goals are missed (load at the end: %s):\n", len(t.missed), t.rows, load())
	for _, m := range t.missed {
		t.printf("  * %s\n", m)
	}
}

// machine describes where this was measured.
func machine(dir string) string {
	var u unix.Utsname
	var fs unix.Statfs_t
	_ = unix.Uname(&u)        // described as far as can be
	_ = unix.Statfs(dir, &fs) // likewise
	return fmt.Sprintf("%s, Linux %s, %d × %s, %s, file system %s, load %s",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), unix.ByteSliceToString(u.Release[:]), cpus(), field("/proc/cpuinfo", "model name"),
		field("/proc/meminfo", "MemTotal"), fsName(fs.Type), load())
}

func cpus() int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 1
	}
	return set.Count()
}

func fsName(magic int64) string {
	switch magic {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	}
	return fmt.Sprintf("%#x", magic)
}

func field(file, key string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return "?"
	}
	for line := range strings.Lines(string(data)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return "?"
}

func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	return strings.Join(strings.Fields(string(data))[:3], " ")
}

// median of what was measured; 0 of nothing.
func median[T int64 | float64 | time.Duration](all []T) T {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// pair are two series measured in turns.
type pair struct{ ours, native []float64 }

func (p *pair) add(ours, native float64) {
	p.ours, p.native = append(p.ours, ours), append(p.native, native)
}

// ratio is the median of the ratios of neighbours.
func (p *pair) ratio() float64 {
	var all []float64
	for i := range p.ours {
		all = append(all, p.ours[i]/p.native[i])
	}
	return median(all)
}

// spread is how far the ratios of neighbours lie apart.
func (p *pair) spread() string {
	var all []float64
	for i := range p.ours {
		all = append(all, p.ours[i]/p.native[i])
	}
	return fmt.Sprintf("%.2f–%.2f", slices.Min(all), slices.Max(all))
}

func mbps(bytesPerSecond float64) string { return fmt.Sprintf("%.0f MB/s", bytesPerSecond/1e6) }

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

func times(x float64) string { return fmt.Sprintf("%.2f", x) }

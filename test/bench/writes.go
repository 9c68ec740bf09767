package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	appendFlags = syscall.O_WRONLY | syscall.O_APPEND
	plainFlags  = syscall.O_WRONLY | syscall.O_TRUNC
)

// duel measures the same writes to a mount and to plain files of the same file
// system in turns: bytes or calls a second.
type duel struct {
	b      *bench
	native string // directory
	ours   string // directory in a mount
	flags  int
	size   int
	count  int
	unit   int // of what is counted: 1 for calls, size for bytes
}

func (d duel) run(ctx context.Context) (*pair, error) {
	p := &pair{}
	for i := range d.b.rounds {
		native, err := d.once(ctx, filepath.Join(d.native, "w"+strconv.Itoa(i)))
		if err != nil {
			return nil, err
		}
		ours, err := d.once(ctx, filepath.Join(d.ours, "w"+strconv.Itoa(i)))
		if err != nil {
			return nil, err
		}
		p.add(ours, native)
	}
	return p, nil
}

func (d duel) once(ctx context.Context, path string) (float64, error) {
	if err := d.b.settle(); err != nil {
		return 0, err
	}
	r, err := loads(ctx, job{Do: "write", Path: path, Flags: d.flags, Size: d.size, Count: d.count})
	if err != nil {
		return 0, err
	}
	return r.perSecond(d.count * d.unit), nil
}

// pairOf are directories for one duel in a mount.
func (b *bench) pairOf(l *lab, name string) (native, ours string, err error) {
	if native, err = b.fresh("native"); err != nil {
		return "", "", err
	}
	ours = l.path(name)
	return native, ours, unix.Mkdir(ours, 0o755)
}

const twoSinks = `
sinks:
  - {path: /, kind: stream}
  - {path: /files, kind: file}
`

func benchAppend(ctx context.Context, b *bench) error {
	l, err := b.mounted(ctx, twoSinks)
	if err != nil {
		return err
	}
	native, ours, err := b.pairOf(l, "lines")
	if err != nil {
		return err
	}
	p, err := duel{b: b, native: native, ours: ours, flags: appendFlags, size: 100, count: 1 << 20, unit: 1}.run(ctx)
	if err != nil {
		return err
	}
	b.out.add(row{
		what: "100 B O_APPEND writes", goal: "≥ 0.7 × native", met: p.ratio() >= 0.7,
		measured: fmt.Sprintf("%.2f M/s", median(p.ours)/1e6),
		ratio:    fmt.Sprintf("%s × native (%s)", times(p.ratio()), p.spread()),
	})
	return l.close()
}

func benchSequential(ctx context.Context, b *bench) error {
	l, err := b.mounted(ctx, twoSinks)
	if err != nil {
		return err
	}
	for _, c := range []struct {
		what, dir string
		flags     int
	}{
		{"1 MiB writes, append handle of a stream", "log", appendFlags},
		{"1 MiB writes, new file in a file sink", "files/big", plainFlags},
	} {
		native, ours, err := b.pairOf(l, c.dir)
		if err != nil {
			return err
		}
		p, err := duel{b: b, native: native, ours: ours, flags: c.flags, size: 1 << 20, count: 256, unit: 1 << 20}.run(ctx)
		if err != nil {
			return err
		}
		b.out.add(row{
			what: c.what, goal: "≥ 0.8 × native", met: p.ratio() >= 0.8, measured: mbps(median(p.ours)),
			ratio: fmt.Sprintf("%s × native (%s)", times(p.ratio()), p.spread()),
		})
	}
	return l.close()
}

// benchDaemonPath measures the daemon, not the disk behind it.
func benchDaemonPath(ctx context.Context, b *bench) error {
	back, err := b.inMemory(ctx)
	if err != nil {
		return err
	}
	defer back()
	for _, c := range []struct {
		what  string
		flags int
		args  []string
	}{
		{"`>` handle", plainFlags, nil},
		{"append handle, --passthrough off", appendFlags, []string{"--passthrough", "off"}},
	} {
		l, err := b.mounted(ctx, twoSinks, c.args...)
		if err != nil {
			return err
		}
		for _, w := range []struct {
			name        string
			size, count int
			goal        float64
		}{{"4 KiB", 4 << 10, 16 << 10, 150e6}, {"1 MiB", 1 << 20, 128, 400e6}} {
			native, ours, err := b.pairOf(l, strconv.Itoa(w.size))
			if err != nil {
				return err
			}
			p, err := duel{b: b, native: native, ours: ours, flags: c.flags, size: w.size, count: w.count, unit: w.size}.run(ctx)
			if err != nil {
				return err
			}
			b.out.add(row{
				what: w.name + " writes through the daemon, " + c.what, goal: "≥ " + mbps(w.goal), met: median(p.ours) >= w.goal,
				measured: mbps(median(p.ours)), ratio: fmt.Sprintf("%s × native (%s)", times(p.ratio()), p.spread()),
			})
		}
		if err := l.close(); err != nil {
			return err
		}
	}
	return nil
}

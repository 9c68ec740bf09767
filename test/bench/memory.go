package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const mib = 1 << 20

// rest is how long a mount gets to come to rest.
const rest = 3 * time.Second

func (b *bench) memoryRow(what string, limit, used int64, ratio string) {
	b.out.add(row{
		what: what, goal: fmt.Sprintf("≤ %d MiB", limit), met: used <= limit*mib,
		measured: fmt.Sprintf("%d MiB", used/mib), ratio: ratio,
	})
}

// benchMemory is what supervisor and worker hold together.
func benchMemory(ctx context.Context, b *bench) error {
	l, err := b.mounted(ctx, twoSinks)
	if err != nil {
		return err
	}
	if err := wait(ctx, rest); err != nil {
		return err
	}
	idle, err := l.usage()
	if err != nil {
		return err
	}
	b.memoryRow("resident memory, idle", 60, idle.now, "supervisor and worker")

	const sources = 10_000
	w, err := openWriters(l, sources)
	if err != nil {
		return err
	}
	defer w.close()
	if err := l.resetPeak(); err != nil {
		return err
	}
	for range 3 {
		if err := w.write(record(100)); err != nil {
			return err
		}
		if _, err := l.publish(); err != nil {
			return err
		}
	}
	open, err := l.usage()
	if err != nil {
		return err
	}
	b.memoryRow("resident memory, 10,000 open sources, 3 checkpoints", 300, open.peak,
		fmt.Sprintf("peak; %.1f × idle; now %d MiB", float64(open.peak)/float64(idle.now), open.now/mib))
	return l.close()
}

// benchShipping writes a stream at full speed while checkpoints ship it.
func benchShipping(ctx context.Context, b *bench) error {
	size := int64(4e9)
	if b.full {
		size = 10e9
	}
	l, err := b.mounted(ctx, twoSinks)
	if err != nil {
		return err
	}
	if err := wait(ctx, rest); err != nil {
		return err
	}
	before, err := l.usage()
	if err == nil {
		err = l.resetPeak()
	}
	if err != nil {
		return err
	}
	took, err := ship(l, size)
	if err != nil {
		return err
	}
	after, err := l.usage()
	if err != nil {
		return err
	}
	cpu := after.cpu - before.cpu
	b.memoryRow(fmt.Sprintf("resident memory, shipping %d GB to a local target", size/1e9), 150, after.peak,
		fmt.Sprintf("peak; %s, %s per CPU-second", mbps(float64(size)/took.Seconds()), mbps(float64(size)/cpu.Seconds())))
	return l.close()
}

func ship(l *lab, size int64) (time.Duration, error) {
	fd, err := unix.Open(l.path("big.log"), appendFlags|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	data := records(mib)
	var shipping time.Duration
	for written := int64(0); written < size; {
		for chunk := int64(0); chunk < size/4; chunk += mib {
			if _, err := unix.Write(fd, data); err != nil {
				return 0, err
			}
			written += mib
		}
		d, err := l.publish()
		if err != nil {
			return 0, err
		}
		shipping += d
	}
	return shipping, nil
}

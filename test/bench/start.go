package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// immutable is the attribute that keeps even root from making names.
const immutable = 0x10

// benchMount is how long a mount takes with much that is unfinished: parts
// that a store which is down left committing, and spool bytes behind them.
func benchMount(ctx context.Context, b *bench) error {
	const parts = 10_000
	size := int64(2e9)
	if b.full {
		size = 10e9
	}
	l, err := b.mounted(ctx, "checkpoint: {commit_timeout: 2s}\nsinks: [{path: /, kind: stream, coalesce: false}]\n")
	if err != nil {
		return err
	}
	w, err := openWriters(l, parts)
	if err != nil {
		return err
	}
	if err := w.write(record(100)); err != nil {
		return err
	}
	if err := setImmutable(l.target, true); err != nil {
		return err
	}
	defer func() { _ = setImmutable(l.target, false) }()
	if _, err := l.publish(); err == nil {
		return errors.New("a checkpoint succeeded although nothing can be published")
	}
	data := records(mib)
	for i := range size / mib {
		if _, err := unix.Write(w[i%parts], data); err != nil {
			return err
		}
	}
	w.close()
	if err := l.close(); err != nil {
		return err
	}
	if err := b.settle(); err != nil {
		return err
	}
	return b.mountRow(ctx, l, size, parts)
}

func (b *bench) mountRow(ctx context.Context, l *lab, size int64, parts int) error {
	empty, err := b.lab("")
	if err != nil {
		return err
	}
	var full, bare []time.Duration
	for range 3 {
		for _, m := range []struct {
			l    *lab
			took *[]time.Duration
		}{{l, &full}, {empty, &bare}} {
			start := time.Now()
			if err := m.l.mount(ctx); err != nil {
				return err
			}
			*m.took = append(*m.took, time.Since(start))
			if err := m.l.close(); err != nil {
				return err
			}
		}
	}
	b.out.add(row{
		what: fmt.Sprintf("mount, %d GB unfinished in %d sources, %d parts", size/1e9, parts, parts), goal: "≤ 2 s",
		met: median(full) <= 2*time.Second, measured: ms(median(full)),
		ratio: fmt.Sprintf("%.1f × an empty mount (%s)", float64(median(full))/float64(median(bare)), ms(median(bare))),
	})
	return nil
}

func setImmutable(dir string, on bool) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return fmt.Errorf("%s: file attributes: %w", dir, err)
	}
	flags &^= immutable
	if on {
		flags |= immutable
	}
	return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flags)
}

// benchHandOver kills the worker under a writer that opens, appends and
// closes: its longest wait is what it noticed.
func benchHandOver(ctx context.Context, b *bench) error {
	const kills = 5
	l, err := b.mounted(ctx, twoSinks)
	if err != nil {
		return err
	}
	w, err := openWriters(l, 100) // a table of handles to take over
	if err != nil {
		return err
	}
	defer w.close()
	quiet, err := loads(ctx, job{Do: "reopen", Path: l.path("quiet.log"), Size: 100, Count: 4000})
	if err != nil {
		return err
	}
	var longest []time.Duration
	for i := range kills {
		type answer struct {
			r   result
			err error
		}
		done := make(chan answer, 1)
		go func() {
			r, err := loads(ctx, job{Do: "reopen", Path: filepath.Join(l.point, fmt.Sprintf("k%d.log", i)), Size: 100, Count: 20_000})
			done <- answer{r, err}
		}()
		if err := wait(ctx, 300*time.Millisecond); err != nil {
			return err
		}
		pid, err := l.worker()
		if err == nil {
			err = unix.Kill(pid, unix.SIGKILL)
		}
		a := <-done
		if err := errors.Join(err, a.err); err != nil {
			return err
		}
		longest = append(longest, a.r.Longest)
	}
	b.out.add(row{
		what: "hand-over after kill -9 of the worker, longest wait", goal: "≤ 1 s", met: maximum(longest) <= time.Second,
		measured: ms(maximum(longest)),
		ratio:    fmt.Sprintf("p50 of %d kills %s; undisturbed %s", kills, ms(median(longest)), ms(quiet.Longest)),
	})
	w.close()
	return l.close()
}

func maximum(all []time.Duration) time.Duration {
	var m time.Duration
	for _, d := range all {
		m = max(m, d)
	}
	return m
}

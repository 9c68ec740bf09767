package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/local"
)

// Checkpoints of 1 source and of many sources of 4 KiB.
const (
	manySources = 1000
	sourceBytes = 4096
)

// writers are open append handles of a mount.
type writers []int

func openWriters(l *lab, n int) (writers, error) {
	var w writers
	if err := mayOpen(n); err != nil {
		return nil, err
	}
	for i := range n {
		dir := l.path("d" + strconv.Itoa(i/1000))
		if i%1000 == 0 {
			if err := unix.Mkdir(dir, 0o755); err != nil {
				return nil, err
			}
		}
		fd, err := unix.Open(dir+"/s"+strconv.Itoa(i)+".log", appendFlags|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return nil, err
		}
		w = append(w, fd)
	}
	return w, nil
}

// mayOpen raises the soft limit of descriptors as far as it goes.
func mayOpen(n int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	const others = 100
	if limit.Max < uint64(n+others) {
		return fmt.Errorf("%d descriptors are needed, the limit is %d: raise it with ulimit -Hn", n+others, limit.Max)
	}
	limit.Cur = limit.Max
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
}

func (w writers) write(data []byte) error {
	for _, fd := range w {
		if _, err := unix.Write(fd, data); err != nil {
			return err
		}
	}
	return nil
}

// close may be called again.
func (w *writers) close() {
	for _, fd := range *w {
		_ = unix.Close(fd) // nothing is pending
	}
	*w = nil
}

// puts is the store alone: the calls that a checkpoint makes, without one.
type puts struct {
	store backend.Store
	n     int
}

func newPuts(b *bench) (*puts, error) {
	dir, err := b.fresh("store")
	if err != nil {
		return nil, err
	}
	s, err := local.Open(dir, slog.New(slog.DiscardHandler))
	return &puts{store: s}, err
}

// run puts n objects as a checkpoint does.
func (p *puts) run(ctx context.Context, n, size int) (time.Duration, error) {
	data := records(size)
	start := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, p.store.Properties().Parallel))
	for range n {
		p.n++
		key := backend.Key("bucket/part-" + strconv.Itoa(p.n))
		g.Go(func() error {
			_, err := p.store.Put(ctx, backend.Object{
				Key: key, Size: int64(size), Meta: backend.Meta{"sinkfs-part": "1"}, Mode: 0o444, ModTime: start,
				Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
			})
			return err
		})
	}
	err := g.Wait()
	return time.Since(start), err
}

// floor is what the bytes of many sources cost by themselves: the same writes
// to plain files, then one syncfs.
type floor struct {
	b  *bench
	w  writers
	in []time.Duration
}

func newFloor(b *bench) (*floor, error) {
	dir, err := b.fresh("plain")
	if err != nil {
		return nil, err
	}
	f := &floor{b: b}
	for i := range manySources {
		fd, err := unix.Open(dir+"/s"+strconv.Itoa(i)+".log", appendFlags|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return nil, err
		}
		f.w = append(f.w, fd)
	}
	return f, nil
}

func (f *floor) round(data []byte) error {
	if err := errors.Join(f.b.settle(), f.w.write(data)); err != nil {
		return err
	}
	start := time.Now()
	err := f.b.settle()
	f.in = append(f.in, time.Since(start))
	return err
}

// timed are the checkpoints of one mount, in turns with the others.
type timed struct {
	l    *lab
	w    writers
	took []time.Duration
}

func (t *timed) round(data []byte) error {
	if err := t.w.write(data); err != nil {
		return err
	}
	d, err := t.l.publish()
	t.took = append(t.took, d)
	return err
}

func (b *bench) timed(ctx context.Context, config string, sources int, at place) (*timed, error) {
	l, err := b.lab(config)
	if err != nil {
		return nil, err
	}
	at.use(l)
	if err := l.mount(ctx); err != nil {
		return nil, err
	}
	w, err := openWriters(l, sources)
	return &timed{l: l, w: w}, err
}

// place is where checkpoints publish to.
type place interface {
	use(l *lab)
	name() string
}

type localPlace struct{}

func (localPlace) use(*lab)     {}
func (localPlace) name() string { return "" }

func benchCheckpoint(ctx context.Context, b *bench) error {
	p, err := newPuts(b)
	if err != nil {
		return err
	}
	return b.checkpoints(ctx, localPlace{}, p)
}

// checkpoints measures checkpoints at a place; p are the bare calls there.
func (b *bench) checkpoints(ctx context.Context, at place, p *puts) error {
	var all []*timed
	for _, c := range []struct {
		coalesce bool
		sources  int
	}{{true, 1}, {true, manySources}, {false, manySources}} {
		t, err := b.timed(ctx, fmt.Sprintf("sinks: [{path: /, kind: stream, coalesce: %v}]\n", c.coalesce), c.sources, at)
		if err != nil {
			return err
		}
		defer t.w.close()
		all = append(all, t)
	}
	plain, err := newFloor(b)
	if err != nil {
		return err
	}
	defer plain.w.close()
	var one, many []time.Duration
	for range 2*b.rounds + 1 {
		for _, t := range all {
			if err := b.settle(); err != nil {
				return err
			}
			if err := t.round(records(sourceBytes)); err != nil {
				return err
			}
		}
		if err := plain.round(records(sourceBytes)); err != nil {
			return err
		}
		d1, err1 := p.run(ctx, 1, sourceBytes)
		d2, err2 := p.run(ctx, manySources, sourceBytes)
		if err := errors.Join(err1, err2); err != nil {
			return fmt.Errorf("put: %w", err)
		}
		one, many = append(one, d1), append(many, d2)
	}
	b.checkpointRows(at.name(), all, median(one), median(many), median(plain.in))
	for _, t := range all {
		t.w.close()
		if err := t.l.close(); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) checkpointRows(at string, all []*timed, one, many, plain time.Duration) {
	single, coalesced, separate := median(all[0].took[1:]), median(all[1].took[1:]), median(all[2].took[1:])
	b.out.add(row{
		what: at + "checkpoint p50, 1 open source", goal: "store's own + 50 ms", met: single-one <= 50*time.Millisecond,
		measured: ms(single), ratio: fmt.Sprintf("own Put + %s", ms(single-one)),
	})
	b.out.add(row{
		what: at + "checkpoint p50, 1000 sources, coalesced", goal: "≤ 5 × one source", met: coalesced <= 5*single,
		measured: ms(coalesced),
		ratio:    fmt.Sprintf("%.1f × one; syncfs of it alone %s", float64(coalesced)/float64(single), ms(plain)),
	})
	bound := many*12/10 + 100*time.Millisecond
	b.out.add(row{
		what: at + "checkpoint p50, 1000 sources, not coalesced", goal: "≤ 1.2 × Puts + 100 ms", met: separate <= bound,
		measured: ms(separate),
		ratio:    fmt.Sprintf("%.2f × the Puts alone (%s)", float64(separate)/float64(many), ms(many)),
	})
}

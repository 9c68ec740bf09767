package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// fewFiles are made at a time: more would measure the file system's search
// for free inodes.
const fewFiles = 5000

func benchSmallFiles(ctx context.Context, b *bench) error {
	back, err := b.newFileSystem(ctx)
	if err != nil {
		return err
	}
	defer back()
	l, err := b.mounted(ctx, twoSinks)
	if err != nil {
		return err
	}
	for _, c := range []struct{ what, do, dir string }{
		{"open, append a line, close", "reopen", "lines"},
		{"create, write 4 KiB, close: streams", "create", "small"},
		{"create, write 4 KiB, close: file sink", "create", "files/small"},
	} {
		p, err := b.smallFiles(ctx, l, c.do, c.dir)
		if err != nil {
			return err
		}
		b.out.add(row{
			what: c.what, goal: "≥ 5000/s", met: median(p.ours) >= 5000, measured: fmt.Sprintf("%.0f/s", median(p.ours)),
			ratio: fmt.Sprintf("%.3f × native, which does %.0f/s", p.ratio(), median(p.native)),
		})
	}
	return l.close()
}

func (b *bench) smallFiles(ctx context.Context, l *lab, do, dir string) (*pair, error) {
	native, ours, err := b.pairOf(l, dir)
	if err != nil {
		return nil, err
	}
	p := &pair{}
	for i := range b.rounds {
		var rates [2]float64
		for k, parent := range []string{native, ours} {
			j := job{Do: do, Path: filepath.Join(parent, "w"+strconv.Itoa(i)), Size: 100, Count: fewFiles}
			if do == "create" {
				j.Size = 4096
				if err := unix.Mkdir(j.Path, 0o755); err != nil {
					return nil, err
				}
			}
			if err := b.settle(); err != nil {
				return nil, err
			}
			r, err := loads(ctx, j)
			if err != nil {
				return nil, err
			}
			rates[k] = r.perSecond(j.Count)
		}
		p.add(rates[1], rates[0])
	}
	return p, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	backends3 "github.com/sinkfs/sinkfs/backend/s3"
	"github.com/sinkfs/sinkfs/internal/testserver"
)

const bucketName = "bench"

// remote is a bucket of a MinIO on this machine: its work is measured with
// everybody's, so ratios count.
type remote struct {
	b      *bench
	server *testserver.Server
	bucket *testserver.Bucket
	mounts int
}

func newRemote(ctx context.Context, b *bench) (*remote, error) {
	dir, err := b.fresh("minio")
	if err != nil {
		return nil, err
	}
	for k, v := range testserver.Environ() { // of the mounts too
		if err := os.Setenv(k, v); err != nil {
			return nil, err
		}
	}
	server, err := testserver.New(ctx, testserver.MinIO, dir)
	if err != nil {
		return nil, err
	}
	bucket, err := server.MakeBucket(ctx, bucketName)
	return &remote{b: b, server: server, bucket: bucket}, err
}

func (r *remote) name() string { return "MinIO: " }

// use has a mount publish to a prefix of its own.
func (r *remote) use(l *lab) {
	r.mounts++
	l.target = fmt.Sprintf("s3://%s/sinkfs%d", bucketName, r.mounts)
	l.config += fmt.Sprintf("store: {s3: {endpoint: %q, region: %s, path_style: true}}\n", r.server.URL, testserver.Region)
}

func (r *remote) mount(ctx context.Context, config string) (*lab, error) {
	l, err := r.b.lab(config)
	if err != nil {
		return nil, err
	}
	r.use(l)
	return l, l.mount(ctx)
}

// puts are bare calls of the driver.
func (r *remote) puts(ctx context.Context) (*puts, error) {
	s, err := backends3.Open(ctx, backends3.Options{
		Bucket: bucketName, Prefix: "puts", Endpoint: r.server.URL, Region: testserver.Region, PathStyle: true,
		Log: slog.New(slog.DiscardHandler),
	})
	return &puts{store: s}, err
}

// benchStore is everything that needs an object store, next to the file
// systems that people mount over a bucket today.
func benchStore(ctx context.Context, b *bench) (err error) {
	r, err := newRemote(ctx, b)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.server.Stop()) }()
	back, err := b.newFileSystem(ctx)
	if err != nil {
		return err
	}
	l, err := r.mount(ctx, twoSinks)
	back()
	if err != nil {
		return err
	}
	rclone, err := r.mountRclone(ctx)
	if err != nil {
		return err
	}
	s3fs, err := r.mountS3fs(ctx)
	if err != nil {
		return err
	}
	if err := r.writes(ctx, l, rclone, s3fs); err != nil {
		return err
	}
	if err := l.close(); err != nil {
		return err
	}
	if l, err = r.mount(ctx, twoSinks); err != nil { // without thousands of small files, on the disk
		return err
	}
	if err := r.shipping(ctx, l, rclone, s3fs); err != nil {
		return err
	}
	if err := errors.Join(rclone.close(), s3fs.close(), l.close()); err != nil {
		return err
	}
	p, err := r.puts(ctx)
	if err != nil {
		return err
	}
	return b.checkpoints(ctx, r, p)
}

// writes compares how fast programs write; none of it waits for the store in
// sinkfs. The peers do fewer: s3fs uploads at each close.
func (r *remote) writes(ctx context.Context, l *lab, rclone, s3fs *peer) error {
	for _, c := range []struct {
		what, goal   string
		job          job
		fewer, least int // as many times fewer for rclone, and for s3fs
		want         func(ours, best float64) bool
	}{
		{
			"100 B O_APPEND writes", "≥ 10 × the best peer",
			job{Do: "write", Path: "app.log", Flags: appendFlags, Size: 100, Count: 300_000},
			10, 10,
			func(ours, best float64) bool { return ours >= 10*best },
		},
		{
			"open, append a line, close", "≥ 5000/s",
			job{Do: "reopen", Path: "lines.log", Size: 100, Count: fewFiles},
			10, 50,
			func(ours, _ float64) bool { return ours >= 5000 },
		},
		{
			"create, write 4 KiB, close", "≥ 5000/s",
			job{Do: "create", Path: "small", Size: 4096, Count: fewFiles},
			10, 50,
			func(ours, _ float64) bool { return ours >= 5000 },
		},
	} {
		var rates [3][]float64
		for i := range r.b.rounds {
			for k, at := range []string{l.point, rclone.point, s3fs.point} {
				j := c.job
				j.Path = filepath.Join(at, fmt.Sprintf("%s-%d", j.Path, i))
				j.Count /= []int{1, c.fewer, c.least}[k]
				if j.Do == "create" {
					if err := unix.Mkdir(j.Path, 0o755); err != nil {
						return err
					}
				}
				got, err := loads(ctx, j)
				if err != nil {
					return err
				}
				rates[k] = append(rates[k], got.perSecond(j.Count))
			}
		}
		ours, theirs, s3fsRate := median(rates[0]), median(rates[1]), median(rates[2])
		r.b.out.add(row{
			what: r.name() + c.what, goal: c.goal, met: c.want(ours, max(theirs, s3fsRate)), measured: fmt.Sprintf("%.0f/s", ours),
			ratio: fmt.Sprintf("%.1f × rclone (%.0f), %.1f × s3fs (%.0f)", ours/theirs, theirs, ours/s3fsRate, s3fsRate),
		})
	}
	_, err := l.publish()
	return err
}

// shipping compares what a gigabyte costs in the daemon: until it is an
// object.
func (r *remote) shipping(ctx context.Context, l *lab, rclone, s3fs *peer) error {
	const size = 1 << 30
	perSecond := map[string]float64{}
	took := map[string]time.Duration{}
	measure := func(name string, cpu func() time.Duration, run func() error) error {
		before, start := cpu(), time.Now()
		if err := run(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		perSecond[name], took[name] = size/1e6/(cpu()-before).Seconds(), time.Since(start)
		return nil
	}
	worker, err := l.worker()
	if err != nil {
		return err
	}
	if err := l.resetPeak(); err != nil {
		return err
	}
	err = measure("sinkfs", func() time.Duration { return cpuOf(worker) }, func() error {
		if err := fill(l.path("big.log"), size); err != nil {
			return err
		}
		_, err := l.publish()
		return err
	})
	if err != nil {
		return err
	}
	used, err := l.usage()
	if err != nil {
		return err
	}
	for _, p := range []*peer{rclone, s3fs} {
		err := measure(p.name, p.cpu, func() error {
			if err := fill(filepath.Join(p.point, "big.log"), size); err != nil {
				return err
			}
			return r.arrives(ctx, map[string]string{"rclone": "rclone/big.log", "s3fs": "big.log"}[p.name], size)
		})
		if err != nil {
			return err
		}
	}
	r.b.out.add(row{
		what: r.name() + "shipping 1 GiB of lines, daemon's CPU", goal: "≥ 1000 MB per CPU-second", met: perSecond["sinkfs"] >= 1000,
		measured: fmt.Sprintf("%.0f MB per CPU-second", perSecond["sinkfs"]),
		ratio: fmt.Sprintf("%.1f × rclone (%.0f), %.1f × s3fs (%.0f)", perSecond["sinkfs"]/perSecond["rclone"], perSecond["rclone"],
			perSecond["sinkfs"]/perSecond["s3fs"], perSecond["s3fs"]),
	})
	r.b.memoryRow(r.name()+"resident memory, shipping 1 GiB", 150, used.peak,
		fmt.Sprintf("peak; until it is an object %.1f s, rclone %.1f s, s3fs %.1f s", took["sinkfs"].Seconds(), took["rclone"].Seconds(), took["s3fs"].Seconds()))
	return nil
}

// fill writes size bytes of lines and closes.
func fill(path string, size int64) error {
	fd, err := unix.Open(path, appendFlags|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	data := records(mib)
	for written := int64(0); written < size && err == nil; written += mib {
		err = bareWrite(fd, data)
	}
	return errors.Join(err, unix.Close(fd))
}

// arrives waits until an object of that size is there.
func (r *remote) arrives(ctx context.Context, key string, size int64) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		got, err := r.bucket.Size(ctx, key)
		if err != nil || got == size {
			return err
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("%s does not arrive: %w", key, err)
		}
	}
}

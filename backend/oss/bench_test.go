package oss_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	aliyun "github.com/aliyun/aliyun-oss-go-sdk/oss"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/backendtest"
	"github.com/sinkfs/sinkfs/backend/oss"
	"github.com/sinkfs/sinkfs/internal/ossfake"
)

func startServer(b *testing.B) string {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveVariable+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait() // it may have been killed for its memory; the benchmark said so
	})
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(url)
}

// perCPU reports megabytes for a second of this process's CPU.
func perCPU(b *testing.B, bytes int64, run func()) {
	b.Helper()
	cpu := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := cpu()
	b.SetBytes(bytes)
	run()
	b.ReportMetric(float64(bytes)*float64(b.N)/1e6/(cpu()-before).Seconds(), "MB/cpu-s")
}

func BenchmarkShip(b *testing.B) {
	for k, v := range ossfake.Environ() {
		b.Setenv(k, v)
	}
	const size, part = 128 << 20, 8 << 20
	file := filepath.Join(b.TempDir(), "spool")
	if err := os.WriteFile(file, backendtest.Pattern(size), 0o600); err != nil {
		b.Fatal(err)
	}
	url := startServer(b)
	s := open(b, nil, oss.Options{Endpoint: url})
	if err := s.Check(b.Context()); err != nil {
		b.Fatal(err)
	}
	opener := func(off, n int64) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) {
			f, err := os.Open(file)
			return struct {
				io.Reader
				io.Closer
			}{io.NewSectionReader(f, off, n), f}, err
		}
	}
	var n atomic.Int64
	key := func() backend.Key { return backend.Key(fmt.Sprintf("d/part-%d", n.Add(1))) }
	// once ships all, and takes it away again: the server holds it in memory.
	once := func(ship func(off, n int64) (backend.Key, error), part int64) {
		var g errgroup.Group
		g.SetLimit(4)
		for off := int64(0); off < size; off += part {
			g.Go(func() error {
				k, err := ship(off, part)
				if err != nil {
					return err
				}
				return s.Delete(b.Context(), k)
			})
		}
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("staged", func(b *testing.B) {
		perCPU(b, size, func() {
			for b.Loop() {
				once(func(off, n int64) (backend.Key, error) {
					k := key()
					st, err := s.Stage(b.Context(), backend.Object{Key: k, Size: n, Open: opener(off, n)})
					if err != nil {
						return k, err
					}
					_, err = st.Commit(b.Context())
					return k, err
				}, size)
			}
		})
	})
	b.Run("put 8 MiB", func(b *testing.B) {
		perCPU(b, size, func() {
			for b.Loop() {
				once(func(off, n int64) (backend.Key, error) {
					k := key()
					_, err := s.Put(b.Context(), backend.Object{Key: k, Size: n, Open: opener(off, n)})
					return k, err
				}, part)
			}
		})
	})
	b.Run("SDK alone 8 MiB", func(b *testing.B) {
		client, err := aliyun.New(url, ossfake.AccessKey, ossfake.SecretKey, aliyun.Region(ossfake.Region), aliyun.AuthVersion(aliyun.AuthV1))
		if err != nil {
			b.Fatal(err)
		}
		bare, err := client.Bucket(bucket)
		if err != nil {
			b.Fatal(err)
		}
		perCPU(b, size, func() {
			for b.Loop() {
				once(func(off, n int64) (backend.Key, error) {
					body, err := opener(off, n)()
					if err != nil {
						return "", err
					}
					defer body.Close()
					k := key()
					return k, bare.PutObject(string(k), &io.LimitedReader{R: body, N: n})
				}, part)
			}
		})
	})
}

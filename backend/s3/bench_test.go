package s3_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/backendtest"
	"github.com/sinkfs/sinkfs/backend/s3"
	"github.com/sinkfs/sinkfs/internal/testserver"
)

// cpu is what this process has used; the server is another.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perCPU reports megabytes for a second of CPU; each loop of run is of size.
func perCPU(b *testing.B, size int64, run func()) {
	b.Helper()
	b.SetBytes(size)
	before := cpu(b)
	run()
	b.ReportMetric(float64(size)*float64(b.N)/1e6/(cpu(b)-before).Seconds(), "MB/cpu-s")
}

func BenchmarkShip(b *testing.B) {
	for k, v := range testserver.Environ() {
		b.Setenv(k, v)
	}
	const size = 256 << 20
	file := filepath.Join(b.TempDir(), "spool")
	if err := os.WriteFile(file, backendtest.Pattern(size), 0o600); err != nil {
		b.Fatal(err)
	}
	server := testserver.Start(b, testserver.VersityGW)
	makeBucket(b, server.URL, "bench")
	s := open(b, s3.Options{Bucket: "bench", Endpoint: server.URL})
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
	b.Run("staged", func(b *testing.B) {
		perCPU(b, size, func() {
			for b.Loop() {
				st, err := s.Stage(b.Context(), backend.Object{Key: key(), Size: size, Open: opener(0, size)})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := st.Commit(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	b.Run("put 8 MiB", func(b *testing.B) {
		const part = 8 << 20
		perCPU(b, size, func() {
			for b.Loop() {
				var g errgroup.Group
				g.SetLimit(4)
				for off := int64(0); off < size; off += part {
					g.Go(func() error {
						_, err := s.Put(b.Context(), backend.Object{Key: key(), Size: part, Open: opener(off, part)})
						return err
					})
				}
				if err := g.Wait(); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	b.Run("SDK alone 8 MiB", func(b *testing.B) {
		const part = 8 << 20
		client := other(server.URL)
		perCPU(b, size, func() {
			for b.Loop() {
				var g errgroup.Group
				g.SetLimit(4)
				for off := int64(0); off < size; off += part {
					g.Go(func() error {
						body, err := opener(off, part)()
						if err != nil {
							return err
						}
						defer body.Close()
						_, err = client.PutObject(b.Context(), &awss3.PutObjectInput{
							Bucket: aws.String("bench"), Key: aws.String(string(key())), Body: body, ContentLength: aws.Int64(part),
						}, func(o *awss3.Options) {
							o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
							o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
						})
						return err
					})
				}
				if err := g.Wait(); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

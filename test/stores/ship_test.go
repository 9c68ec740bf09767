package stores

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"
	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/internal/faultproxy"
	"github.com/sinkfs/sinkfs/internal/ossfake"
	"github.com/sinkfs/sinkfs/internal/sinkfstest"
	"github.com/sinkfs/sinkfs/internal/testserver"
)

// plainOSS is the name by which this program is a server of OSS, so that what
// its client takes can be told from what it takes.
const plainOSS = "plain-oss"

// servePlainOSS says where it listens and ends with its input.
func servePlainOSS(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: ossfake.Make(bucket), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }() // it ends with the process
	fmt.Println("http://" + l.Addr().String())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// startOSS runs a server of OSS in another process until the test ends.
func startOSS(t *testing.T) (url string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Args[0] = plainOSS
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait() // it may have been killed for its memory; the test saw it
	})
	url, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(url)
}

// shipper is a server to ship to: how a mount finds it, what a second of CPU
// must be good for, and how the bare SDK does the same.
type shipper struct {
	target, config string
	goal           float64 // MB for a CPU-second
	put            func(ctx context.Context, key string, body io.ReadSeeker, n int64) error
}

func s3Shipper(t *testing.T, k testserver.Kind) shipper {
	t.Helper()
	server := testserver.Start(t, k)
	s := store{server, server.NewBucket(t, bucket)}
	target, config := s3Site{s}.Mount(s.URL)
	return shipper{target, config, 1000, func(ctx context.Context, key string, body io.ReadSeeker, n int64) error {
		_, err := s.bucket.Client.PutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String(bucket), Key: &key, Body: body, ContentLength: &n}, func(o *awss3.Options) {
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
		})
		return err
	}}
}

func ossShipper(t *testing.T) shipper {
	t.Helper()
	url := startOSS(t)
	client, err := oss.New(url, ossfake.AccessKey, ossfake.SecretKey, oss.Region(ossfake.Region), oss.AuthVersion(oss.AuthV1))
	if err != nil {
		t.Fatal(err)
	}
	bare, err := client.Bucket(bucket)
	if err != nil {
		t.Fatal(err)
	}
	target, config := ossSite{}.Mount(url)
	return shipper{target, config, 500, func(ctx context.Context, key string, body io.ReadSeeker, n int64) error {
		return bare.PutObject(key, &io.LimitedReader{R: body, N: n}, oss.WithContext(ctx))
	}}
}

// bare is how many MB of the bytes the SDK alone sends for a second of CPU, in
// objects of 8 MiB, four at a time.
func (s shipper) bare(t *testing.T, size int64) float64 {
	t.Helper()
	const part = 8 << 20
	file := filepath.Join(t.TempDir(), "spool")
	if err := os.WriteFile(file, bytes.Repeat([]byte("0123456789abcde\n"), part/16), 0o600); err != nil {
		t.Fatal(err)
	}
	used := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	var g errgroup.Group
	g.SetLimit(4)
	for off := int64(0); off < size; off += part {
		g.Go(func() error {
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer f.Close()
			return s.put(t.Context(), fmt.Sprintf("bare/%d", off), f, part)
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	return float64(size) / 1e6 / (used() - before).Seconds()
}

// workerCPU is what the worker has used.
func workerCPU(t *testing.T, m *sinkfstest.Mount) time.Duration {
	t.Helper()
	pids := workers(t, m)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pids[len(pids)-1]))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const utime, stime, tick = 11, 12, 10 * time.Millisecond // of what follows the name
	var ticks int64
	for _, i := range []int{utime, stime} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick
}

// TestShipping publishes a file and a fast stream, and says what memory and
// CPU the worker took, beside the SDK alone. With -stores.full the sizes are a
// file of 1 GiB and 200 MiB a second for 10 s, on all servers, and a missed
// goal is an error.
func TestShipping(t *testing.T) {
	for _, k := range testserver.Kinds {
		if !given.full && k.Name != testserver.VersityGW.Name {
			continue
		}
		t.Run(k.Name, func(t *testing.T) {
			t.Run("file", func(t *testing.T) { shipFile(t, s3Shipper(t, k)) })
			t.Run("stream", func(t *testing.T) { shipStream(t, s3Shipper(t, k)) })
		})
	}
	t.Run("oss", func(t *testing.T) {
		t.Run("file", func(t *testing.T) { shipFile(t, ossShipper(t)) })
		t.Run("stream", func(t *testing.T) { shipStream(t, ossShipper(t)) })
	})
}

func (s shipper) mount(t *testing.T) *sinkfstest.Mount {
	t.Helper()
	m := sinkfstest.At(t, s.target)
	file := filepath.Join(t.TempDir(), "sinkfs.yaml")
	text := s.config + "\nsinks: [{path: /, rolling: {max_part_size: 64GiB, rollover_interval: 1h, inactivity_interval: 1h}}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m.Start("-c", file)
	return m
}

// report says what shipping took, and holds it to the goals.
func (s shipper) report(t *testing.T, m *sinkfstest.Mount, size int64, cpu time.Duration, how string) {
	t.Helper()
	peak := peakMemory(t, m)
	if peak > 150<<20 {
		t.Errorf("the worker took %d MiB of memory, want at most 150", peak>>20)
	}
	rate, bare := float64(size)/1e6/cpu.Seconds(), s.bare(t, min(size, 512<<20))
	if given.full && rate < s.goal {
		t.Errorf("%.0f MB for a CPU-second, want %.0f", rate, s.goal)
	}
	t.Logf("%s: %d MiB of memory at most, %.0f MB for a CPU-second, %.2f of the bare SDK's %.0f", how, peak>>20, rate, rate/bare, bare)
	if r := sinkfstest.Run(t, "fsck", m.Point); r.Code != 0 {
		t.Errorf("fsck ended with %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
}

func shipFile(t *testing.T, s shipper) {
	size := int64(256 << 20)
	if given.full {
		size = 1 << 30
	}
	m := s.mount(t)
	f, err := os.Create(m.Path("large.gz"))
	if err != nil {
		t.Fatal(err)
	}
	piece := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
	for n := int64(0); n < size; n += int64(len(piece)) {
		if _, err := f.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	before, start := workerCPU(t, m), time.Now()
	m.Publish()
	s.report(t, m, size, workerCPU(t, m)-before, fmt.Sprintf("a file of %d MiB in %v", size>>20, time.Since(start).Round(time.Millisecond)))
}

func shipStream(t *testing.T, s shipper) {
	const rate, perSecond = 200 << 20, 20
	seconds := 2
	if given.full {
		seconds = 10
	}
	m := s.mount(t)
	f, err := os.OpenFile(m.Path("app.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	piece := bytes.Repeat([]byte("0123456789abcde\n"), rate/perSecond/16)
	before, start := workerCPU(t, m), time.Now()
	tick := time.NewTicker(time.Second / perSecond)
	defer tick.Stop()
	for range seconds * perSecond {
		<-tick.C
		if _, err := f.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	wrote := time.Since(start)
	start = time.Now()
	m.Publish()
	size := int64(seconds * perSecond * len(piece))
	s.report(t, m, size, workerCPU(t, m)-before,
		fmt.Sprintf("a stream of %.0f MiB/s for %v, then a checkpoint of %v", float64(size>>20)/wrote.Seconds(), wrote.Round(time.Millisecond), time.Since(start).Round(time.Millisecond)))
}

// TestManySmallParts publishes small parts with one request each, 10,000 of
// them with -stores.full.
func TestManySmallParts(t *testing.T) {
	n := 1000
	if given.full {
		n = 10_000
	}
	everywhere(t, func(t *testing.T, s site) {
		proxy := faultproxy.New(t, s.URL())
		m := mountOf(t, s)
		m.Start(settings(t, s, proxy.URL)...)
		for i := range n {
			write(t, m.Path(fmt.Sprintf("%d.gz", i)), []byte("small"))
		}
		proxy.Calls()
		m.Publish()
		calls := proxy.Calls()
		sum := 0
		for _, times := range calls {
			sum += times
		}
		if calls[faultproxy.Put] != n || float64(sum) > 1.1*float64(n) {
			t.Errorf("%d parts took the calls %v", n, calls)
		}
		t.Logf("%d parts took the calls %v, %.3f each", n, calls, float64(sum)/float64(n))
	})
}

package stores

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/internal/faultproxy"
	"github.com/sinkfs/sinkfs/internal/ossfake"
	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// mountOSS mounts a bucket of a new server, through a proxy that makes it
// fail as told.
func mountOSS(t *testing.T) (*ossfake.Server, *faultproxy.Proxy, *sinkfstest.Mount) {
	t.Helper()
	server := ossfake.New(t, bucket)
	proxy := faultproxy.New(t, server.URL)
	m := sinkfstest.At(t, "oss://"+bucket+"/prod")
	m.Start(flagsOSS(t, proxy.URL)...)
	return server, proxy, m
}

// flagsOSS is the flag that names the endpoint.
func flagsOSS(t *testing.T, url string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sinkfs.yaml")
	text := fmt.Sprintf("store: {oss: {endpoint: %q, region: %s}}\ncheckpoint: {commit_timeout: 5s}\n", url, ossfake.Region)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"-c", file}
}

// recordsOSS counts the lines of all objects.
func recordsOSS(server *ossfake.Server) map[string]int {
	records := map[string]int{}
	for key, body := range server.Objects(bucket, "prod/") {
		if strings.HasPrefix(key, "_sinkfs/") {
			continue
		}
		for line := range strings.Lines(string(body)) {
			records[strings.TrimSuffix(line, "\n")]++
		}
	}
	return records
}

// collectOSS has fsck explain everything and gc remove what dead workers left.
func collectOSS(t *testing.T, server *ossfake.Server, m *sinkfstest.Mount) {
	t.Helper()
	t.Logf("%d uploads of dead workers", server.Uploads(bucket))
	for _, args := range [][]string{{"fsck", "--bodies", m.Point}, {"gc", "--delete", m.Point}, {"fsck", m.Point}} {
		if r := sinkfstest.Run(t, args...); r.Code != 0 {
			t.Errorf("%v ended with %d: %s%s", args, r.Code, r.Stdout, r.Stderr)
		}
	}
	if n := server.Uploads(bucket); n != 0 {
		t.Errorf("%d uploads are left behind gc", n)
	}
}

// TestLargeOSS publishes a file of 1 GiB within a bound of memory.
func TestLargeOSS(t *testing.T) {
	server, _, m := mountOSS(t)
	f, err := os.Create(m.Path("large.gz"))
	if err != nil {
		t.Fatal(err)
	}
	piece := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
	for range 1024 {
		if _, err := f.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	m.Publish()
	took, peak := time.Since(start), peakMemory(t, m)
	for key, body := range server.Objects(bucket, "prod/") {
		if len(body) != 1<<30 {
			t.Errorf("%s has %d bytes, want 1 GiB", key, len(body))
		}
	}
	if peak > 150<<20 {
		t.Errorf("the worker took %d MiB", peak>>20)
	}
	t.Logf("1 GiB published in %v, %d MiB of memory at most", took.Round(time.Millisecond), peak>>20)
}

// Package stores tests the program with real object stores.
package stores

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sinkfs/sinkfs/internal/sinkfstest"
	"github.com/sinkfs/sinkfs/internal/testserver"
)

const bucket = "logs"

// store is a running server with a bucket, which another client looks into.
type store struct {
	*testserver.Server
	bucket *testserver.Bucket
}

func each(t *testing.T, test func(t *testing.T, s store)) {
	t.Helper()
	testserver.Each(t, func(t *testing.T, server *testserver.Server) {
		test(t, store{server, server.NewBucket(t, bucket)})
	})
}

// config is the flag that names the endpoint.
func (s store) config(t *testing.T) []string {
	t.Helper()
	return configAt(t, s.URL)
}

func configAt(t *testing.T, url string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sinkfs.yaml")
	text := fmt.Sprintf("store: {s3: {endpoint: %q, path_style: true}}\ncheckpoint: {commit_timeout: 5s}\n", url)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"-c", file}
}

// objects are all of the bucket below the prefix, with their bodies.
func (s store) objects(t *testing.T, prefix string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	if err := s.bucket.List(t.Context(), prefix, func(o types.Object) error {
		if isProbe(*o.Key) {
			return nil
		}
		body, err := s.bucket.Read(t.Context(), *o.Key)
		all[strings.TrimPrefix(*o.Key, prefix)] = body
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// records counts the lines of all objects.
func (s store) records(t *testing.T, prefix string) map[string]int {
	t.Helper()
	records := map[string]int{}
	for _, body := range s.objects(t, prefix) {
		for line := range strings.Lines(string(body)) {
			records[strings.TrimSuffix(line, "\n")]++
		}
	}
	return records
}

func write(t *testing.T, path string, body []byte) {
	t.Helper()
	if err := os.WriteFile(path, body, 0o640); err != nil {
		t.Fatal(err)
	}
}

func target(t *testing.T, m *sinkfstest.Mount) (state, message string) {
	t.Helper()
	r := sinkfstest.Run(t, "status", "--json", m.Point)
	var status struct {
		Target struct {
			State, Error string
			CreateOnly   string `json:"create_only"`
		}
	}
	if err := json.Unmarshal([]byte(r.Stdout), &status); err != nil {
		t.Fatalf("status: %v: %s%s", err, r.Stdout, r.Stderr)
	}
	if status.Target.CreateOnly != "enforced" {
		t.Errorf("create_only is %q", status.Target.CreateOnly)
	}
	return status.Target.State, status.Target.Error
}

func TestPublish(t *testing.T) {
	everywhere(t, func(t *testing.T, s site) {
		m := mountOf(t, s)
		m.Start(settings(t, s, s.URL())...)
		want := map[string][]byte{"large.gz": bytes.Repeat([]byte("0123456789abcde\n"), 20<<16), "small.gz": []byte("small")} // 20 MiB
		write(t, m.Path("app.log"), []byte("hello\n"))
		for name, body := range want {
			write(t, m.Path(name), body)
		}
		if keys := s.Keys(t, ""); len(keys) != 0 {
			t.Errorf("%q are listed before the checkpoint", keys)
		}
		m.Publish()
		keys := s.Keys(t, "prod/")
		if len(keys) != 3 {
			t.Errorf("%q are listed, want 3", keys)
		}
		for _, key := range keys {
			want := want[filepath.Base(key)]
			if want == nil {
				want = []byte("hello\n")
			}
			if body := s.Get(t, "prod/"+key); !bytes.Equal(body, want) {
				t.Errorf("%s has %d bytes, want %d, or others", key, len(body), len(want))
			}
			if seen, err := os.ReadFile(m.Path(key)); err != nil || !bytes.Equal(seen, want) {
				t.Errorf("%s in the mount has %d bytes, %v", key, len(seen), err)
			}
		}
		tidy(t, s, m)
	})
}

var served = regexp.MustCompile(`msg="worker serves" pid=(\d+)`)

// workers are the process ids of the workers so far.
func workers(t *testing.T, m *sinkfstest.Mount) []int {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(m.State, "log"))
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, match := range served.FindAllSubmatch(log, -1) {
		pid, err := strconv.Atoi(string(match[1]))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// collect has fsck explain everything and gc remove what dead workers left.
func (s store) collect(t *testing.T, m *sinkfstest.Mount) {
	t.Helper()
	t.Logf("%d uploads of dead workers", s.uploads(t))
	for _, args := range [][]string{{"fsck", "--bodies", m.Point}, {"gc", "--delete", m.Point}, {"fsck", m.Point}} {
		if r := sinkfstest.Run(t, args...); r.Code != 0 {
			t.Errorf("%v ended with %d: %s%s", args, r.Code, r.Stdout, r.Stderr)
		}
	}
	if n := s.uploads(t); n != 0 {
		t.Errorf("%d uploads are left behind gc", n)
	}
}

// uploads counts those that were begun and have no end.
func (s store) uploads(t *testing.T) int {
	t.Helper()
	n, err := s.bucket.Uploads(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// killWhile kills the worker some time into what runs, and waits for both it
// and the next worker.
func killWhile(t *testing.T, m *sinkfstest.Mount, after time.Duration, run func()) {
	t.Helper()
	before := workers(t, m)
	done := make(chan struct{})
	go func() { defer close(done); run() }()
	ctx, cancel := context.WithTimeout(t.Context(), after)
	defer cancel()
	<-ctx.Done()
	if err := syscall.Kill(before[len(before)-1], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-done
	sinkfstest.Eventually(t, "there is another worker", func() bool { return len(workers(t, m)) > len(before) })
}

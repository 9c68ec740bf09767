// Package stores tests the program with servers of S3 and with a fake of OSS.
package stores

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

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

func write(t *testing.T, path string, body []byte) {
	t.Helper()
	if err := os.WriteFile(path, body, 0o640); err != nil {
		t.Fatal(err)
	}
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
		if got := stateOf(t, m).Target.CreateOnly; got != "enforced" {
			t.Errorf("create_only is %q", got)
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

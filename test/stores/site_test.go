package stores

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/internal/ossfake"
	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// site is a bucket of a running server of any kind, seen by a client that
// knows nothing of sinkfs.
type site interface {
	// URL is the server's.
	URL() string
	// Mount is the target of a mount of the prefix "prod", and the part of a
	// configuration that leads to it by the URL.
	Mount(url string) (target, config string)
	// Keys are those below the prefix, less the prefix.
	Keys(t *testing.T, prefix string) []string
	Get(t *testing.T, key string) []byte
	Put(t *testing.T, key string, body []byte)
	// Uploads is how many are begun and not ended.
	Uploads(t *testing.T) int
	// Stop has nothing listen any more, Run brings it back as it was.
	Stop(t *testing.T)
	Run(t *testing.T)
}

// everywhere runs a test on an empty bucket of each kind of server.
func everywhere(t *testing.T, test func(t *testing.T, s site)) {
	t.Helper()
	each(t, func(t *testing.T, s store) { test(t, s3Site{s}) })
	t.Run("oss", func(t *testing.T) { test(t, ossSite{ossfake.New(t, bucket)}) })
}

// everywhereAtOnce is everywhere for a test that waits more than it works, and
// changes nothing of this process.
func everywhereAtOnce(t *testing.T, test func(t *testing.T, s site)) {
	t.Helper()
	everywhere(t, func(t *testing.T, s site) {
		t.Parallel()
		test(t, s)
	})
}

// settings is a configuration file that leads to the server, or to what
// stands before it at url, with more lines.
func settings(t *testing.T, s site, url string, lines ...string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sinkfs.yaml")
	_, config := s.Mount(url)
	if err := os.WriteFile(file, []byte(config+"\n"+strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"-c", file}
}

// mountOf is a mount of the site, which Start makes with settings.
func mountOf(t *testing.T, s site) *sinkfstest.Mount {
	t.Helper()
	target, _ := s.Mount(s.URL())
	return sinkfstest.At(t, target)
}

// quick are settings of which a test sees soon what became of a write.
var quick = []string{"checkpoint: {commit_timeout: 3s, interval: 1s}", "sinks: [{path: /, rolling: {on_checkpoint: true}}]"}

// lines counts the lines of all objects below the prefix.
func lines(t *testing.T, s site, prefix string) map[string]int {
	t.Helper()
	found := map[string]int{}
	for _, key := range s.Keys(t, prefix) {
		for line := range strings.Lines(string(s.Get(t, prefix+key))) {
			found[strings.TrimSuffix(line, "\n")]++
		}
	}
	return found
}

// tidy has fsck explain everything and gc remove what nobody needs.
func tidy(t *testing.T, s site, m *sinkfstest.Mount) {
	t.Helper()
	for _, args := range [][]string{{"fsck", "--bodies", m.Point}, {"gc", "--delete", m.Point}, {"fsck", m.Point}} {
		if r := sinkfstest.Run(t, args...); r.Code != 0 {
			t.Errorf("%v ended with %d: %s%s", args, r.Code, r.Stdout, r.Stderr)
		}
	}
	if n := s.Uploads(t); n != 0 {
		t.Errorf("%d uploads are left behind gc", n)
	}
}

// s3Site is a bucket of a server of S3.
type s3Site struct{ store }

func (s s3Site) URL() string { return s.store.URL }

func (s3Site) Mount(url string) (target, config string) {
	return "s3://" + bucket + "/prod", fmt.Sprintf("store: {s3: {endpoint: %q, path_style: true}}", url)
}

func (s s3Site) Keys(t *testing.T, prefix string) (keys []string) {
	t.Helper()
	if err := s.bucket.List(t.Context(), prefix, func(o types.Object) error {
		if !isProbe(*o.Key) {
			keys = append(keys, strings.TrimPrefix(*o.Key, prefix))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return keys
}

func (s s3Site) Get(t *testing.T, key string) []byte {
	t.Helper()
	body, err := s.bucket.Read(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func (s s3Site) Put(t *testing.T, key string, body []byte) {
	t.Helper()
	if _, err := s.bucket.Client.PutObject(t.Context(), &awss3.PutObjectInput{
		Bucket: aws.String(bucket), Key: &key, Body: strings.NewReader(string(body)),
	}); err != nil {
		t.Fatal(err)
	}
}

func (s s3Site) Uploads(t *testing.T) int {
	t.Helper()
	return s.uploads(t)
}

func (s s3Site) Stop(t *testing.T) {
	t.Helper()
	if err := s.Server.Stop(); err != nil {
		t.Fatal(err)
	}
}

func (s s3Site) Run(t *testing.T) {
	t.Helper()
	if err := s.Server.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// ossSite is a bucket of a server of OSS.
type ossSite struct{ *ossfake.Server }

func (s ossSite) URL() string { return s.Server.URL }

func (ossSite) Mount(url string) (target, config string) {
	return "oss://" + bucket + "/prod", fmt.Sprintf("store: {oss: {endpoint: %q, region: %s}}", url, ossfake.Region)
}

func (s ossSite) Keys(t *testing.T, prefix string) (keys []string) {
	t.Helper()
	for _, key := range s.Server.Keys(bucket) {
		if rest, ok := strings.CutPrefix(key, prefix); ok && !isProbe(key) {
			keys = append(keys, rest)
		}
	}
	return keys
}

// isProbe says whether a key is what a mount tries the bucket with as it
// starts.
func isProbe(key string) bool { return strings.HasSuffix(key, string(backend.Probe)) }

func (s ossSite) Get(t *testing.T, key string) []byte {
	t.Helper()
	return s.Server.Get(bucket, key)
}

func (s ossSite) Put(t *testing.T, key string, body []byte) {
	t.Helper()
	s.Server.Put(bucket, key, body)
}

func (s ossSite) Uploads(t *testing.T) int {
	t.Helper()
	return s.Server.Uploads(bucket)
}

func (s ossSite) Stop(t *testing.T) {
	t.Helper()
	s.Server.Stop()
}

func (s ossSite) Run(t *testing.T) {
	t.Helper()
	if err := s.Server.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

package crash_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	aliyun "github.com/aliyun/aliyun-oss-go-sdk/oss"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sinkfs/sinkfs/internal/ossfake"
	"github.com/sinkfs/sinkfs/internal/testserver"
	"github.com/sinkfs/sinkfs/test/harness"
)

// place is where a mount publishes to.
type place struct {
	url    string // of a directory: "", each lab has its own
	config string
	env    map[string]string
	shelf  harness.Shelf
}

// local is the place of most tests.
func local() place { return place{} }

const prefix = "prod/"

// storeKinds are the object stores to kill the program at.
func storeKinds() []string { return []string{testserver.MinIO.Name, testserver.VersityGW.Name, "oss"} }

// store starts an object store until the test ends. The func it returns makes
// a bucket.
func store(t *testing.T, kind string) (in func(bucket string) place) {
	t.Helper()
	for _, k := range testserver.Kinds {
		if k.Name == kind {
			s := testserver.Start(t, k)
			return func(bucket string) place { return inS3(s.NewBucket(t, "bucket-"+bucket)) }
		}
	}
	s := ossfake.New(t)
	return func(bucket string) place { return inOSS(t, s, "bucket-"+bucket) }
}

// rest is how long a store is not asked for a checkpoint now and then: a part
// becomes large enough to be uploaded while it grows.
func (p place) rest() time.Duration {
	if p.shelf == nil {
		return 0
	}
	return 5 * time.Second
}

// staff are the writers for a place. What is slower than a directory gets some
// air, files that are large enough to be staged, and a stream for large parts.
func (p place) staff(l *harness.Lab, writers []harness.Writer) []harness.Writer {
	if p.shelf == nil {
		return writers
	}
	for i := range writers {
		writers[i].Every = max(writers[i].Every, 60*time.Millisecond)
	}
	return append(writers,
		harness.Writer{ID: "heavy", Kind: harness.Files, Path: filepath.Join(l.Mount, "files"), Length: 17 << 20, Every: 3 * time.Second},
		harness.Writer{ID: "grow", Kind: harness.Append, Path: filepath.Join(l.Mount, "slow/grow.log"), Length: 100_000, Every: 20 * time.Millisecond},
	)
}

func inS3(b *testserver.Bucket) place {
	return place{
		url: "s3://" + b.Name + "/" + prefix, env: testserver.Environ(), shelf: s3Shelf{b},
		config: fmt.Sprintf("store: {s3: {endpoint: %q, path_style: true}}\n", b.URL()),
	}
}

func inOSS(t *testing.T, s *ossfake.Server, bucket string) place {
	t.Helper()
	s.MakeBucket(bucket)
	client, err := aliyun.New(s.URL, ossfake.AccessKey, ossfake.SecretKey)
	if err != nil {
		t.Fatal(err)
	}
	b, err := client.Bucket(bucket)
	if err != nil {
		t.Fatal(err)
	}
	return place{
		url: "oss://" + bucket + "/" + prefix, env: ossfake.Environ(), shelf: ossShelf{b},
		config: fmt.Sprintf("store: {oss: {endpoint: %q, region: %s}}\n", s.URL, ossfake.Region),
	}
}

// s3Shelf is a bucket of S3.
type s3Shelf struct {
	*testserver.Bucket
}

func (s s3Shelf) List(ctx context.Context) (map[string]harness.Label, error) {
	all := map[string]harness.Label{}
	err := s.Bucket.List(ctx, prefix, func(o types.Object) error {
		all[strings.TrimPrefix(*o.Key, prefix)] = harness.Label{Size: *o.Size, Version: version(*o.ETag, *o.LastModified)}
		return nil
	})
	return all, err
}

func (s s3Shelf) Read(ctx context.Context, key string) ([]byte, error) {
	return s.Bucket.Read(ctx, prefix+key)
}

// Glimpses: MinIO removes what it renamed into place when the connection ended
// meanwhile (reduceQuorumErrs in renameData); reads wait for that, listings do
// not.
func (s s3Shelf) Glimpses() bool { return s.Kind().Name == testserver.MinIO.Name }

func version(etag string, modified time.Time) string {
	return etag + " of " + modified.UTC().Format(time.DateTime)
}

// ossShelf is a bucket of OSS.
type ossShelf struct {
	bucket *aliyun.Bucket
}

func (s ossShelf) List(ctx context.Context) (map[string]harness.Label, error) {
	all := map[string]harness.Label{}
	for token := ""; ; {
		page, err := s.bucket.ListObjectsV2(aliyun.Prefix(prefix), aliyun.ContinuationToken(token), aliyun.MaxKeys(1000), aliyun.WithContext(ctx))
		if err != nil {
			return nil, err
		}
		for _, o := range page.Objects {
			all[strings.TrimPrefix(o.Key, prefix)] = harness.Label{Size: o.Size, Version: version(o.ETag, o.LastModified)}
		}
		if token = page.NextContinuationToken; !page.IsTruncated {
			return all, nil
		}
	}
}

func (s ossShelf) Read(ctx context.Context, key string) ([]byte, error) {
	body, err := s.bucket.GetObject(prefix+key, aliyun.WithContext(ctx))
	if refused := (aliyun.ServiceError{}); errors.As(err, &refused) && refused.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("%q: %w", key, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

func (s ossShelf) Uploads(ctx context.Context) (int, error) {
	page, err := s.bucket.ListMultipartUploads(aliyun.MaxUploads(1000), aliyun.WithContext(ctx))
	return len(page.Uploads), err
}

func (s ossShelf) Glimpses() bool { return false }

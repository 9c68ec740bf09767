package stores

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/internal/faultproxy"
	"github.com/sinkfs/sinkfs/internal/ossfake"
	"github.com/sinkfs/sinkfs/internal/sinkfstest"
	"github.com/sinkfs/sinkfs/internal/testserver"
)

// versioned is a bucket that keeps what is overwritten or deleted.
type versioned struct {
	site
	createOnly string // as the status says
}

// withVersions runs a test on the servers that know versions.
func withVersions(t *testing.T, test func(t *testing.T, s versioned)) {
	t.Helper()
	everywhere(t, func(t *testing.T, s site) {
		switch on := s.(type) {
		case ossSite:
			on.SetVersioning(bucket, ossfake.Enabled)
			test(t, versioned{s, "emulated"})
		case s3Site:
			if on.Kind.Name != testserver.MinIO.Name {
				return // versitygw keeps none on a plain directory
			}
			if _, err := on.bucket.Client.PutBucketVersioning(t.Context(), &awss3.PutBucketVersioningInput{
				Bucket: aws.String(bucket), VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
			}); err != nil {
				t.Fatal(err)
			}
			test(t, versioned{s, "enforced"})
		}
	})
}

// versions is how many of each key there are, with the marks of deletions.
func (s versioned) versions(t *testing.T) map[string]int {
	t.Helper()
	on, ok := s.site.(s3Site)
	if !ok {
		return s.site.(ossSite).Versions(bucket) //nolint:errcheck // there are two kinds
	}
	found := map[string]int{}
	pages := awss3.NewListObjectVersionsPaginator(on.bucket.Client, &awss3.ListObjectVersionsInput{Bucket: aws.String(bucket)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.Versions {
			found[*v.Key]++
		}
		for _, v := range page.DeleteMarkers {
			found[*v.Key]++
		}
	}
	return found
}

// duplicate copies an object with its metadata, as a tool of the operator may.
func (s versioned) duplicate(t *testing.T, from, to string) {
	t.Helper()
	on, ok := s.site.(s3Site)
	if !ok {
		s.site.(ossSite).Copy(bucket, from, to) //nolint:errcheck // there are two kinds
		return
	}
	if _, err := on.bucket.Client.CopyObject(t.Context(), &awss3.CopyObjectInput{
		Bucket: aws.String(bucket), CopySource: aws.String(bucket + "/" + from), Key: &to,
	}); err != nil {
		t.Fatal(err)
	}
}

// TestVersions publishes into a bucket with versions, while answers are lost
// and workers die: no object gets a second version. What is deleted through
// the mount or by gc is gone, and nothing else is.
func TestVersions(t *testing.T) {
	withVersions(t, func(t *testing.T, s versioned) {
		proxy := faultproxy.New(t, s.URL())
		m := mountOf(t, s)
		m.Start(settings(t, s, proxy.URL, "checkpoint: {commit_timeout: 5s}", "sinks: [{path: /, bucket: {assigner: base-path}, allow_delete: true}]")...)
		if got := stateOf(t, m).Target.CreateOnly; got != s.createOnly {
			t.Errorf("create_only is %q, want %q", got, s.createOnly)
		}
		large := bytes.Repeat([]byte("0123456789abcde\n"), 17<<16)
		files := 0
		for _, call := range []faultproxy.Call{faultproxy.Put, faultproxy.Complete, faultproxy.Begin, faultproxy.Part} {
			write(t, m.Path(fmt.Sprintf("small-%s.gz", call)), []byte("small"))
			write(t, m.Path(fmt.Sprintf("large-%s.gz", call)), large)
			files += 2
			proxy.Set(faultproxy.Rule{Call: call, Fault: faultproxy.DropAfter, Count: 2})
			sinkfstest.Eventually(t, "it is published although answers are lost", func() bool {
				return sinkfstest.Run(t, "checkpoint", m.Point).Code == 0
			})
			proxy.Set()
		}
		for i := range 5 {
			write(t, m.Path(fmt.Sprintf("killed-%d.gz", i)), large)
			write(t, m.Path("app.log"), fmt.Appendf(nil, "line %d\n", i))
			files += 2
			killWhile(t, m, rand.N(300*time.Millisecond), func() { sinkfstest.Run(t, "checkpoint", m.Point) })
			m.Publish()
		}
		s.wantOneEach(t, files)

		if err := os.Remove(m.Path("small-put.gz")); err != nil {
			t.Errorf("a file that may be deleted: %v", err)
		}
		s.duplicate(t, "prod/killed-4.gz", "prod/copy.gz")
		if r := sinkfstest.Run(t, "gc", "--delete", m.Point); r.Code != 0 || !strings.Contains(r.Stdout, "copy.gz") {
			t.Errorf("gc ended with %d: %s%s, want it to remove copy.gz", r.Code, r.Stdout, r.Stderr)
		}
		if got := len(s.Keys(t, "prod/")); got != files-1 {
			t.Errorf("%d objects are there after one was deleted and a copy removed, want %d", got, files-1)
		}
		versions := s.versions(t)
		for key, want := range map[string]int{"prod/small-put.gz": 2, "prod/copy.gz": 2, "prod/killed-4.gz": 1} { // a mark each
			if versions[key] != want {
				t.Errorf("%s has %d versions, want %d", key, versions[key], want)
			}
		}
		wantListed(t, s, m)
		tidy(t, s, m)
	})
}

// wantOneEach wants so many objects, of one version each, and no other
// versions of anything.
func (s versioned) wantOneEach(t *testing.T, objects int) {
	t.Helper()
	versions := s.versions(t)
	sinkfstest.Eventually(t, "the latest worker has tried the bucket", func() bool {
		versions = s.versions(t)
		_, trying := versions["prod/"+string(backend.Probe)]
		return !trying
	})
	for key, n := range versions {
		if n != 1 || !strings.HasPrefix(key, "prod/") || strings.HasPrefix(key, "prod/_sinkfs") {
			t.Errorf("%s has %d versions", key, n)
		}
	}
	if len(versions) != objects {
		t.Errorf("%d keys have versions, want %d", len(versions), objects)
	}
}

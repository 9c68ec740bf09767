package stores

import (
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	aliyun "github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/sinkfs/sinkfs/internal/ossfake"
	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// names are those in a directory of the mount.
func names(t *testing.T, path string) []string {
	t.Helper()
	d, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	all, err := d.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// fill puts so many objects into the directory.
func fill(t *testing.T, s site, dir string, n int) (want map[string]bool) {
	t.Helper()
	want = map[string]bool{}
	for i := range n {
		name := fmt.Sprintf("part-0123456789abcdef-%06d.log", i)
		s.Put(t, "prod/"+dir+"/"+name, nil)
		want[name] = true
	}
	return want
}

// bareListing counts what another client lists.
func bareListing(t *testing.T, s site, prefix string) (n int) {
	t.Helper()
	if _, ok := s.(ossSite); !ok {
		return len(s.Keys(t, prefix))
	}
	client, err := aliyun.New(s.URL(), ossfake.AccessKey, ossfake.SecretKey)
	if err != nil {
		t.Fatal(err)
	}
	b, err := client.Bucket(bucket)
	if err != nil {
		t.Fatal(err)
	}
	for token, more := "", true; more; {
		page, err := b.ListObjectsV2(aliyun.Prefix(prefix), aliyun.Delimiter("/"), aliyun.MaxKeys(1000), aliyun.ContinuationToken(token))
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.Objects)
		token, more = page.NextContinuationToken, page.IsTruncated
	}
	return n
}

// wantNames lists a directory through the mount, and compares the time with
// that of the bare listing.
func wantNames(t *testing.T, s site, m *sinkfstest.Mount, dir string, want map[string]bool) {
	t.Helper()
	start := time.Now()
	bare := bareListing(t, s, "prod/"+dir+"/")
	alone := time.Since(start)
	start = time.Now()
	got := names(t, m.Path(dir))
	took := time.Since(start)
	seen := map[string]bool{}
	for _, name := range got {
		if seen[name] || !want[name] {
			t.Fatalf("%s is listed, a second time or although nobody put it there", name)
		}
		seen[name] = true
	}
	if len(seen) != len(want) || bare != len(want) {
		t.Errorf("%d names are listed, %d by another client, want %d", len(seen), bare, len(want))
	}
	if limit := 3*alone + time.Second; took > limit {
		t.Errorf("%d names took %v, the listing of the store alone %v: want %v at most", len(got), took, alone, limit)
	}
	t.Logf("%d names in %v, the listing of the store alone takes %v", len(got), took.Round(time.Millisecond), alone.Round(time.Millisecond))
}

// TestLongListing lists directories beyond a page, and beyond what is
// remembered of one: every name once, in little more time than the store
// takes, and reads what is at their end.
func TestLongListing(t *testing.T) {
	everywhere(t, func(t *testing.T, s site) {
		n := 1100
		if _, ok := s.(ossSite); ok {
			n = 101_000 // where objects are quickly made
		}
		m := mountOf(t, s)
		m.Start(settings(t, s, s.URL())...)
		want := fill(t, s, "many", n)
		wantNames(t, s, m, "many", want)
		last := fmt.Sprintf("many/part-0123456789abcdef-%06d.log", n-1)
		if body, err := os.ReadFile(m.Path(last)); err != nil || len(body) != 0 {
			t.Errorf("the last is %d bytes, %v", len(body), err)
		}
		inPieces(t, m.Path("many"), len(want))
		if peak := memory(t, m, "VmHWM:"); peak > 150<<20 {
			t.Errorf("the worker took %d MiB", peak>>20)
		}
	})
}

// inPieces reads a directory slowly, as a program does that looks at each name.
func inPieces(t *testing.T, path string, want int) {
	t.Helper()
	d, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	n := 0
	for {
		some, err := d.Readdirnames(700)
		n += len(some)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n != want {
		t.Errorf("%d names in pieces, want %d", n, want)
	}
}

package s3_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/backendtest"
	"github.com/sinkfs/sinkfs/backend/s3"
)

// TestEmulated runs the suite on a store that overwrites whatever it is told
// and keeps no checksums: create-only is a look before the leap.
func TestEmulated(t *testing.T) {
	setEnviron(t)
	backendtest.Run(t, func(t *testing.T) backendtest.Target {
		t.Helper()
		f := newFake(t)
		s := open(t, s3.Options{Bucket: "b", Prefix: "p", Endpoint: f.URL})
		if err := s.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s.Properties().CreateOnly {
			t.Fatal("the store overwrites, Properties say it does not")
		}
		if f.objects["p/_sinkfs/probe"].body != nil {
			t.Error("the probe is still there")
		}
		target := target(s, f.URL, "b", "p")
		target.NoChecksum = true
		return target
	})
}

// TestTenThousandParts stages what 10,000 of the configured parts do not
// hold.
func TestTenThousandParts(t *testing.T) {
	setEnviron(t)
	f := newFake(t)
	const part = 512
	s := open(t, s3.Options{Bucket: "b", Endpoint: f.URL, PartSize: part, Memory: 64 << 10})
	body := backendtest.Pattern(10_000*part*2 + 7)
	st, err := s.Stage(t.Context(), backendtest.Object("big", body))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	backendtest.WantBody(t, s, "big", body)
	if f.partMax > 10_000 || f.partMax < 5_000 {
		t.Errorf("%d parts were sent", f.partMax)
	}
}

// TestPartsBeyondMemory streams parts that are larger than what may be held,
// also when one has to be sent again.
func TestPartsBeyondMemory(t *testing.T) {
	setEnviron(t)
	f := newFake(t)
	s := open(t, s3.Options{Bucket: "b", Endpoint: f.URL, PartSize: 2, Memory: 4})
	body := backendtest.Pattern(10_000*5 + 3)
	f.refuse = failSome(3, "7", "8000")
	st, err := s.Stage(t.Context(), backendtest.Object("big", body))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	backendtest.WantBody(t, s, "big", body)
}

// TestListOrder compares listings of any names, in pages of any size, with
// the order of names.
func TestListOrder(t *testing.T) {
	setEnviron(t)
	f := newFake(t)
	s, ctx := open(t, s3.Options{Bucket: "b", Prefix: "p", Endpoint: f.URL}), t.Context()
	element := rapid.StringMatching(`[ab.\-!0]{1,4}`).Filter(func(e string) bool { return e != "." && e != ".." })
	rapid.Check(t, func(t *rapid.T) {
		clear(f.objects)
		f.pages = rapid.IntRange(1, 50).Draw(t, "page")
		dirs, files := map[string]bool{}, map[string]bool{}
		for _, path := range rapid.SliceOfN(rapid.SliceOfN(element, 1, 2), 0, 120).Draw(t, "paths") {
			f.objects["p/"+strings.Join(path, "/")] = fakeObject{}
			if len(path) > 1 {
				dirs[path[0]] = true
			} else {
				files[path[0]] = true
			}
		}
		after := rapid.OneOf(rapid.Just(""), element).Draw(t, "after")
		want, got := []string{}, []string{}
		for name := range files {
			want = append(want, name)
		}
		for name := range dirs {
			want = append(want, name+"/")
		}
		slices.SortFunc(want, func(a, b string) int {
			if c := strings.Compare(strings.TrimSuffix(a, "/"), strings.TrimSuffix(b, "/")); c != 0 {
				return c
			}
			return len(a) - len(b)
		})
		want = slices.DeleteFunc(want, func(name string) bool { return strings.TrimSuffix(name, "/") <= after })
		if err := s.List(ctx, "", after, func(name string, i backend.Info) error {
			if i.Dir {
				name += "/"
			}
			got = append(got, name)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("List after %q in pages of %d (-want +got):\n%s", after, f.pages, diff)
		}
	})
}

// TestListAcrossPages has a directory whose key is on the page after that of
// a name that follows it.
func TestListAcrossPages(t *testing.T) {
	setEnviron(t)
	f := newFake(t)
	f.pages = 11
	want := []string{}
	for i := range 10 {
		want = append(want, fmt.Sprintf("n%d", i))
	}
	want = append(want, "x", "x.log", "y")
	for _, name := range want {
		f.objects[name] = fakeObject{}
	}
	delete(f.objects, "x")
	f.objects["x/1"] = fakeObject{}
	requests := 0
	f.refuse = count(&requests)
	s := open(t, s3.Options{Bucket: "b", Endpoint: f.URL})
	got := []string{}
	if err := s.List(t.Context(), "", "", func(name string, _ backend.Info) error {
		got = append(got, name)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" || requests != 2 {
		t.Errorf("List in %d requests (-want +got):\n%s", requests, diff)
	}
}

// TestListRequests holds the listing of a large directory to a request a
// page, although its names have dashes and dots.
func TestListRequests(t *testing.T) {
	setEnviron(t)
	f := newFake(t)
	requests := 0
	f.refuse = count(&requests)
	const n = 100_000
	for i := range n {
		f.objects[fmt.Sprintf("d/part-0123456789abcdef-%d.log", i)] = fakeObject{}
	}
	f.objects["d/part/x"] = fakeObject{}
	s := open(t, s3.Options{Bucket: "b", Endpoint: f.URL})
	f.pages = 10_000
	last, names := "", 0
	if err := s.List(t.Context(), "d", "", func(name string, _ backend.Info) error {
		if name <= last {
			t.Errorf("%q comes after %q", name, last)
		}
		last = name
		names++
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if names != n+1 || requests > n/f.pages+5 {
		t.Errorf("%d names in %d requests", names, requests)
	}
}

// TestProbeTidiedUp has somebody abort the upload of the probe, as gc does
// with those that were left behind.
func TestProbeTidiedUp(t *testing.T) {
	setEnviron(t)
	f := newFake(t)
	s := open(t, s3.Options{Bucket: "b", Endpoint: f.URL})
	parts := 0
	f.refuse = func(w http.ResponseWriter, r *http.Request) bool { // it overwrites nothing
		q := r.URL.Query()
		switch {
		case r.Method == http.MethodPut && q.Has("partNumber"):
			if parts++; parts > 1 {
				return false
			}
			fakeError(w, http.StatusNotFound, "NoSuchUpload")
		case r.Method == http.MethodPut, r.Method == http.MethodPost && q.Has("uploadId"):
			fakeError(w, http.StatusPreconditionFailed, "PreconditionFailed")
		default:
			return false
		}
		return true
	}
	if err := s.Check(t.Context()); err != nil || parts != 2 || !s.Properties().CreateOnly {
		t.Errorf("Check = %v, %d parts sent, CreateOnly: %v", err, parts, s.Properties().CreateOnly)
	}
}

// TestUploadBeginsAgain: one answer that passes fails no checkpoint.
func TestUploadBeginsAgain(t *testing.T) {
	setEnviron(t)
	f := newFake(t)
	s := open(t, s3.Options{Bucket: "b", Endpoint: f.URL, PartSize: 1000})
	failed := false
	f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		if failed || !r.URL.Query().Has("uploads") || r.Method != http.MethodPost {
			return false
		}
		failed = true
		fakeError(w, http.StatusServiceUnavailable, "SlowDown")
		return true
	}
	st, err := s.Stage(t.Context(), backendtest.Object("a", backendtest.Pattern(3000)))
	if err != nil || !failed {
		t.Fatalf("Stage = %v, after a failure: %v", err, failed)
	}
	if _, err := st.Commit(t.Context()); err != nil {
		t.Errorf("Commit = %v", err)
	}
}

// TestUploadWithoutID: a proxy's yes to the beginning of an upload is none,
// and nothing is sent to an upload that has no id.
func TestUploadWithoutID(t *testing.T) {
	setEnviron(t)
	f := newFake(t)
	s := open(t, s3.Options{Bucket: "b", Endpoint: f.URL, PartSize: 1000})
	begun, nameless := 0, 0
	f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		q := r.URL.Query()
		if q.Has("uploadId") && q.Get("uploadId") == "" {
			nameless++
		}
		if r.Method != http.MethodPost || !q.Has("uploads") {
			return false
		}
		if begun++; begun > 1 {
			return false
		}
		fmt.Fprint(w, "<html>log in</html>")
		return true
	}
	st, err := s.Stage(t.Context(), backendtest.Object("a", backendtest.Pattern(900)))
	if err != nil || begun != 2 || nameless != 0 {
		t.Fatalf("Stage = %v, %d uploads begun, %d requests to one without an id", err, begun, nameless)
	}
	if _, err := st.Commit(t.Context()); err != nil {
		t.Errorf("Commit = %v", err)
	}
}

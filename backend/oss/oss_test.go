package oss_test

import (
	"errors"
	"log/slog"
	"net/http"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/backendtest"
	"github.com/sinkfs/sinkfs/backend/oss"
	"github.com/sinkfs/sinkfs/internal/ossfake"
)

const bucket = "a-bucket"

// setEnviron gives this process the credentials of the server.
func setEnviron(t *testing.T) {
	t.Helper()
	for k, v := range ossfake.Environ() {
		t.Setenv(k, v)
	}
	// Nothing else that this host may know.
	t.Setenv("HOME", t.TempDir())
	t.Setenv("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")
}

// open makes a store of the server's bucket unless told otherwise.
func open(tb testing.TB, server *ossfake.Server, o oss.Options) *oss.Store {
	tb.Helper()
	set := func(to *string, text string) {
		if *to == "" {
			*to = text
		}
	}
	set(&o.Bucket, bucket)
	set(&o.Region, ossfake.Region)
	if server != nil {
		set(&o.Endpoint, server.URL)
	}
	o.Log = slog.New(slog.NewTextHandler(tb.Output(), nil))
	s, err := oss.Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func target(server *ossfake.Server, s *oss.Store, prefix string) backendtest.Target {
	if prefix != "" {
		prefix += "/"
	}
	return backendtest.Target{
		Store: s,
		Foreign: func(_ *testing.T, k backend.Key, body []byte) {
			server.Put(bucket, prefix+string(k), body)
		},
		Expire: func(t *testing.T) {
			t.Helper()
			if server.Uploads(bucket) == 0 {
				t.Error("there are no uploads")
			}
			server.Expire(bucket)
		},
	}
}

func TestStore(t *testing.T) {
	setEnviron(t)
	for _, tt := range []struct {
		name, prefix, signature string
	}{
		{"V4", "", "v4"},
		{"V4 with prefix", "logs/prod", "v4"},
		{"V1 with prefix", "logs/prod", "v1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			backendtest.Run(t, func(t *testing.T) backendtest.Target {
				t.Helper()
				server := ossfake.New(t, bucket)
				server.SetSignature(ossfake.Signature(tt.signature))
				return target(server, open(t, server, oss.Options{Prefix: tt.prefix, Signature: tt.signature}), tt.prefix)
			})
		})
	}
}

// TestVersionedStore runs the suite on buckets that heed no condition:
// create-only is a look before the leap.
func TestVersionedStore(t *testing.T) {
	setEnviron(t)
	for _, state := range []ossfake.Versioning{ossfake.Enabled, ossfake.Suspended} {
		t.Run(string(state), func(t *testing.T) {
			backendtest.Run(t, func(t *testing.T) backendtest.Target {
				t.Helper()
				server := ossfake.New(t, bucket)
				server.SetVersioning(bucket, state)
				s := open(t, server, oss.Options{Prefix: "p"})
				if err := s.Check(t.Context()); err != nil {
					t.Fatal(err)
				}
				if s.Properties().CreateOnly {
					t.Error("the store overwrites, Properties say it does not")
				}
				if n := len(server.Versions(bucket)); n != 0 {
					t.Errorf("the probe leaves %d versions", n)
				}
				return target(server, s, "p")
			})
		})
	}
}

// TestVersioningSwitchedOn has an operator switch versions on while the store
// is in use: it stops trusting the condition with the first answer that
// names a version.
func TestVersioningSwitchedOn(t *testing.T) {
	setEnviron(t)
	server := ossfake.New(t, bucket)
	s := open(t, server, oss.Options{})
	if err := s.Check(t.Context()); err != nil || !s.Properties().CreateOnly {
		t.Fatalf("Check = %v, CreateOnly: %v", err, s.Properties().CreateOnly)
	}
	server.SetVersioning(bucket, ossfake.Enabled)
	if _, err := s.Put(t.Context(), backendtest.Object("a", []byte("first"))); err != nil {
		t.Fatal(err)
	}
	if s.Properties().CreateOnly {
		t.Error("CreateOnly although the answer named a version")
	}
	_, err := s.Put(t.Context(), backendtest.Object("a", []byte("second")))
	backendtest.WantKind(t, "Put on a taken key", err, backend.ErrExist)
	backendtest.WantBody(t, s, "a", []byte("first"))
}

func TestCheckLeavesNothing(t *testing.T) {
	setEnviron(t)
	server := ossfake.New(t, bucket)
	s := open(t, server, oss.Options{Prefix: "p"})
	for range 2 {
		if err := s.Check(t.Context()); err != nil || !s.Properties().CreateOnly {
			t.Errorf("Check = %v, CreateOnly: %v", err, s.Properties().CreateOnly)
		}
		if keys, n := server.Keys(bucket), server.Uploads(bucket); len(keys) != 0 || n != 0 {
			t.Errorf("Check leaves %q and %d uploads", keys, n)
		}
	}
}

// TestObjectHeaders has objects made as they are configured, by both ways.
func TestObjectHeaders(t *testing.T) {
	setEnviron(t)
	server := ossfake.New(t, bucket)
	s := open(t, server, oss.Options{SSE: "KMS", KMSKey: "key-1", StorageClass: "IA", Tags: "team=logs&env=prod", RequesterPays: true})
	if _, err := s.Put(t.Context(), backendtest.Object("put.html", []byte("body"))); err != nil {
		t.Fatal(err)
	}
	st, err := s.Stage(t.Context(), backendtest.Object("staged.html", []byte("body")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"put.html", "staged.html"} {
		h := server.Header(bucket, key)
		for name, want := range map[string]string{
			"X-Oss-Server-Side-Encryption": "KMS", "X-Oss-Server-Side-Encryption-Key-Id": "key-1",
			"X-Oss-Storage-Class": "IA", "X-Oss-Tagging-Count": "2", "X-Oss-Meta-Sinkfs-Part": "7",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s of %s is %q, want %q", name, key, got, want)
			}
		}
	}
}

// TestTenThousandParts stages what 10,000 of the configured parts do not
// hold.
func TestTenThousandParts(t *testing.T) {
	setEnviron(t)
	server := ossfake.New(t, bucket)
	server.SetMinPart(1)
	const part = 16
	s := open(t, server, oss.Options{PartSize: part, Memory: 64 << 10})
	body := backendtest.Pattern(10_000*part*2 + 7)
	st, err := s.Stage(t.Context(), backendtest.Object("big", body))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	backendtest.WantBody(t, s, "big", body)
	if n := server.Calls(); n > 10_010 || n < 5_000 {
		t.Errorf("%d calls were made", n)
	}
}

// TestUploads lists those of a prefix over pages, and aborts them.
func TestUploads(t *testing.T) {
	setEnviron(t)
	server := ossfake.New(t, bucket)
	server.SetPages(2)
	s, other := open(t, server, oss.Options{Prefix: "p"}), open(t, server, oss.Options{Prefix: "q"})
	for _, k := range []backend.Key{"d/a", "d/a", "d/b", "d/b", "d/b", "dd", "e"} {
		if _, err := s.Stage(t.Context(), backendtest.Object(k, []byte("body"))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := other.Stage(t.Context(), backendtest.Object("d/a", []byte("body"))); err != nil {
		t.Fatal(err)
	}
	for under, want := range map[backend.Key]int{"": 7, "d": 5, "d/a": 2, "d/c": 0} {
		seen := map[string]bool{}
		if err := s.Uploads(t.Context(), under, func(u backend.Upload) error {
			seen[u.ID] = true
			return nil
		}); err != nil || len(seen) != want {
			t.Errorf("below %q there are %d uploads, %v; want %d", under, len(seen), err, want)
		}
	}
	if n := backendtest.AbortAll(t, s, ""); n != 7 || server.Uploads(bucket) != 1 {
		t.Errorf("%d uploads were aborted, %d are left, want 7 and the other's one", n, server.Uploads(bucket))
	}
	enough := errors.New("enough")
	if err := other.Uploads(t.Context(), "", func(backend.Upload) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("Uploads = %v, want the caller's error", err)
	}
}

// TestCheckTidiedUp has somebody abort the upload that a check begins, as gc
// does with those that were left behind.
func TestCheckTidiedUp(t *testing.T) {
	setEnviron(t)
	server := ossfake.New(t, bucket)
	s := open(t, server, oss.Options{})
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	aborts := 0
	server.SetRefuse(func(w http.ResponseWriter, r *http.Request) bool {
		abort := r.Method == http.MethodDelete && r.URL.Query().Has("uploadId")
		if abort {
			aborts++
			ossfake.Refuse(w, r, http.StatusNotFound, "NoSuchUpload")
		}
		return abort
	})
	if err := s.Check(t.Context()); err != nil || aborts == 0 {
		t.Errorf("Check = %v, %d uploads aborted", err, aborts)
	}
}

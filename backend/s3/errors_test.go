package s3_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/backendtest"
	"github.com/sinkfs/sinkfs/backend/s3"
	"github.com/sinkfs/sinkfs/internal/faultproxy"
	"github.com/sinkfs/sinkfs/internal/testserver"
)

func TestWebServerIsNotBelieved(t *testing.T) {
	setEnviron(t)
	backendtest.BelievesNoWebServer(t, "store.s3.endpoint", "<ListBucketResult><Name>there</Name></ListBucketResult>", func(endpoint string) backend.Store {
		return open(t, s3.Options{Bucket: "there", Endpoint: endpoint})
	})
}

func TestCheckEndsInTime(t *testing.T) {
	setEnviron(t)
	backendtest.EndsInTime(t, newFake(t), func(endpoint string) backend.Store {
		return open(t, s3.Options{Bucket: "b", Endpoint: endpoint})
	})
}

func TestErrorsOfServers(t *testing.T) {
	setEnviron(t)
	backendtest.SaysWhoIsSilent(t, func(endpoint string) backend.Store {
		return open(t, s3.Options{Bucket: "there", Endpoint: endpoint})
	})
	testserver.Each(t, func(t *testing.T, server *testserver.Server) {
		makeBucket(t, server.URL, "there")
		check := func(o s3.Options) error {
			if o.Bucket == "" {
				o.Bucket = "there"
			}
			if o.Endpoint == "" {
				o.Endpoint = server.URL
			}
			return open(t, o).Check(t.Context())
		}
		backendtest.Says(t, "a bucket that is not there", check(s3.Options{Bucket: "not-there"}), backend.ErrUnsupported, "make it, or correct the target")
		backendtest.Says(t, "TLS to a plain port", check(s3.Options{Endpoint: strings.Replace(server.URL, "http:", "https:", 1)}), backend.ErrTransient, "write http://")
		backendtest.Says(t, "a port where nothing listens", check(s3.Options{Endpoint: "http://127.0.0.1:1"}), backend.ErrTransient, "nothing listens there", "127.0.0.1:1")
		backendtest.Says(t, "a name that is none", check(s3.Options{Endpoint: "http://nowhere.invalid"}), backend.ErrTransient, "nowhere.invalid", "store.s3.endpoint")
		backendtest.Says(t, "another region", check(s3.Options{Region: "eu-central-1"}), backend.ErrUnsupported, "store.s3.region")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
		backendtest.Says(t, "a wrong secret", check(s3.Options{}), backend.ErrPermission, "the secret does not belong to the key")
		t.Setenv("AWS_ACCESS_KEY_ID", "nobody")
		backendtest.Says(t, "an unknown key", check(s3.Options{}), backend.ErrPermission, "AWS_ACCESS_KEY_ID")
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "")
		backendtest.Says(t, "no key at all", check(s3.Options{}), backend.ErrPermission, "AWS_ACCESS_KEY_ID", "role")
	})
}

func TestErrorsOfAmazon(t *testing.T) {
	setEnviron(t)
	for _, tt := range []struct {
		status int
		code   string
		header map[string]string
		kind   error
		words  string
	}{
		{301, "PermanentRedirect", map[string]string{"X-Amz-Bucket-Region": "eu-west-3"}, backend.ErrUnsupported, "set store.s3.region to eu-west-3"},
		{400, "AuthorizationHeaderMalformed", map[string]string{"X-Amz-Bucket-Region": "eu-west-3"}, backend.ErrUnsupported, "set store.s3.region to eu-west-3"},
		{403, "RequestTimeTooSkewed", nil, backend.ErrPermission, "clock of this host"},
		{400, "ExpiredToken", nil, backend.ErrPermission, "renew the credentials"},
		{403, "AccessDenied", nil, backend.ErrPermission, "s3:PutObject"},
		{503, "SlowDown", nil, backend.ErrTransient, "fewer requests"},
		{503, "", nil, backend.ErrTransient, "http://127.0.0.1:PORT answered 503"},
		{500, "InternalError", nil, backend.ErrTransient, "http://127.0.0.1:PORT answered 500"},
		{404, "NoSuchBucket", nil, backend.ErrUnsupported, "no such bucket"},
		{501, "NotImplemented", nil, backend.ErrUnsupported, "store.s3.checksum"},
		{404, "PageNotFound", nil, backend.ErrTransient, "check store.s3.endpoint"},
		{418, "Teapot", nil, backend.ErrUnsupported, "418 Teapot"},
	} {
		f := newFake(t)
		f.refuse = func(w http.ResponseWriter, _ *http.Request) bool {
			for k, v := range tt.header {
				w.Header().Set(k, v)
			}
			fakeError(w, tt.status, tt.code)
			return true
		}
		s := open(t, s3.Options{Bucket: "b", Endpoint: f.URL})
		words := strings.Replace(tt.words, "http://127.0.0.1:PORT", f.URL, 1)
		backendtest.Says(t, "Check when the store says "+tt.code, s.Check(t.Context()), tt.kind, words)
	}
}

func TestReadOnlyKey(t *testing.T) {
	setEnviron(t)
	f := newFake(t)
	f.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return false
		}
		fakeError(w, http.StatusForbidden, "AccessDenied")
		return true
	}
	s := open(t, s3.Options{Bucket: "b", Endpoint: f.URL})
	backendtest.Says(t, "Check", s.Check(t.Context()), backend.ErrPermission, "write below s3://b", "s3:PutObject")
	_, err := s.Put(t.Context(), backendtest.Object("a", []byte("body")))
	backendtest.Says(t, "Put", err, backend.ErrPermission, "s3:PutObject")
	_, err = s.Stat(t.Context(), "a")
	backendtest.WantKind(t, "Stat", err, backend.ErrNotExist)
}

// TestRotation changes the keys in a file while the store is in use.
func TestRotation(t *testing.T) {
	setEnviron(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	file := filepath.Join(t.TempDir(), "credentials")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	write := func(key, secret string) {
		text := "[sink]\naws_access_key_id = " + key + "\naws_secret_access_key = " + secret + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := testserver.Start(t, testserver.VersityGW)
	makeBucket(t, server.URL, "rotation")
	write("old", "old")
	s := open(t, s3.Options{Bucket: "rotation", Endpoint: server.URL, Profile: "sink"})
	backendtest.WantKind(t, "Check with a key that is not valid", s.Check(t.Context()), backend.ErrPermission)
	write(testserver.AccessKey, testserver.SecretKey)
	until(t, func() bool { return s.Check(t.Context()) == nil })
	write(testserver.AccessKey, "revoked")
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("Check with the key that still works = %v", err)
	}
}

// TestSecretChanges puts another secret of the same access key into the file.
func TestSecretChanges(t *testing.T) {
	setEnviron(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	file := filepath.Join(t.TempDir(), "credentials")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	server := testserver.Start(t, testserver.VersityGW)
	makeBucket(t, server.URL, "secret")
	write := func(secret string) {
		text := "[sink]\naws_access_key_id = " + testserver.AccessKey + "\naws_secret_access_key = " + secret + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("before")
	s := open(t, s3.Options{Bucket: "secret", Endpoint: server.URL, Profile: "sink"})
	backendtest.WantKind(t, "Check with the secret of before", s.Check(t.Context()), backend.ErrPermission)
	write(testserver.SecretKey)
	until(t, func() bool { return s.Check(t.Context()) == nil })
}

// until waits for something to come true.
func until(t *testing.T, true func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); !true(); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("it does not come true")
		}
	}
}

// TestThrottled leaves a store alone for as long as it asks, with all calls.
func TestThrottled(t *testing.T) {
	setEnviron(t)
	f := newFake(t)
	proxy := faultproxy.New(t, f.URL)
	s := open(t, s3.Options{Bucket: "b", Endpoint: proxy.URL})
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	proxy.Set(faultproxy.Rule{Call: faultproxy.Put, Fault: faultproxy.SlowDown, Count: 1})
	_, err := s.Put(t.Context(), backendtest.Object("a", []byte("body")))
	backendtest.Says(t, "Put", err, backend.ErrTransient, "fewer requests")
	start := time.Now()
	if _, err := s.Put(t.Context(), backendtest.Object("b", []byte("body"))); err != nil || time.Since(start) < 900*time.Millisecond {
		t.Errorf("Put = %v after %v, the store asked for 1 s", err, time.Since(start))
	}
	proxy.Set(faultproxy.Rule{Call: faultproxy.Put, Fault: faultproxy.SlowDown, Count: 1})
	_, err = s.Put(t.Context(), backendtest.Object("c", []byte("body")))
	backendtest.WantKind(t, "Put", err, backend.ErrTransient)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = s.Put(ctx, backendtest.Object("d", []byte("body")))
	backendtest.Says(t, "Put that waits", err, context.DeadlineExceeded, "asked to be left alone")
}

// TestCancel ends calls at a store that does not answer.
func TestCancel(t *testing.T) {
	setEnviron(t)
	f := newFake(t)
	s := open(t, s3.Options{Bucket: "b", Endpoint: f.URL, PartSize: 1 << 20})
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), backendtest.Object("there", []byte("body"))); err != nil {
		t.Fatal(err)
	}
	silent := make(chan struct{})
	defer close(silent)
	f.refuse = func(http.ResponseWriter, *http.Request) bool { <-silent; return true }
	backendtest.Silent(t, s, "there")
}

// TestStageGivesUp leaves no upload behind when the parts do not get there.
func TestStageGivesUp(t *testing.T) {
	setEnviron(t)
	f := newFake(t)
	s := open(t, s3.Options{Bucket: "b", Endpoint: f.URL, PartSize: 1000})
	f.refuse = failSome(100, "3")
	_, err := s.Stage(t.Context(), backendtest.Object("a", backendtest.Pattern(10_000)))
	backendtest.WantKind(t, "Stage", err, backend.ErrTransient)
	if n := backendtest.AbortAll(t, s, ""); n != 0 {
		t.Errorf("%d uploads are left", n)
	}
}

// TestUnknownUploadIsBelievedByNobody: one family of servers says yes to the
// completion of an upload that it does not know when the key has an object.
func TestCommitOfForgottenUpload(t *testing.T) {
	setEnviron(t)
	yes := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodHead:
			w.Header().Set("Content-Length", "4")
			w.Header().Set("Etag", "1")
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		case r.Method == http.MethodPost && r.URL.Query().Has("uploads"):
			_, _ = w.Write([]byte("<R><UploadId>1</UploadId></R>"))
		case r.Method == http.MethodPost:
			_, _ = w.Write([]byte("<R></R>"))
		case r.Method == http.MethodPut:
			w.Header().Set("Etag", "1")
		}
	}))
	t.Cleanup(yes.Close)
	s := open(t, s3.Options{Bucket: "b", Endpoint: yes.URL})
	st, err := s.Stage(t.Context(), backendtest.Object("a", []byte("ours")))
	if err != nil {
		t.Fatal(err)
	}
	_, err = st.Commit(t.Context())
	backendtest.Says(t, "Commit", err, backend.ErrExist)
}

package oss_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/backendtest"
	"github.com/sinkfs/sinkfs/backend/oss"
	"github.com/sinkfs/sinkfs/internal/faultproxy"
	"github.com/sinkfs/sinkfs/internal/ossfake"
)

func TestWebServerIsNotBelieved(t *testing.T) {
	setEnviron(t)
	backendtest.BelievesNoWebServer(t, "store.oss.endpoint", "<ListBucketResult><Name>bucket</Name></ListBucketResult>", func(endpoint string) backend.Store {
		return open(t, nil, oss.Options{Endpoint: endpoint})
	})
}

func TestCheckEndsInTime(t *testing.T) {
	setEnviron(t)
	server := ossfake.New(t, bucket)
	backendtest.EndsInTime(t, server, func(endpoint string) backend.Store {
		return open(t, server, oss.Options{Endpoint: endpoint})
	})
}

func TestErrorsOfServer(t *testing.T) {
	setEnviron(t)
	server := ossfake.New(t, bucket)
	backendtest.SaysWhoIsSilent(t, func(endpoint string) backend.Store {
		return open(t, server, oss.Options{Endpoint: endpoint})
	})
	check := func(o oss.Options) error { return open(t, server, o).Check(t.Context()) }
	backendtest.Says(t, "a bucket that is not there", check(oss.Options{Bucket: "not-there"}), backend.ErrUnsupported, "make it, or correct the target")
	backendtest.Says(t, "TLS to a plain port", check(oss.Options{Endpoint: strings.Replace(server.URL, "http:", "https:", 1)}), backend.ErrTransient, "write http://")
	backendtest.Says(t, "a port where nothing listens", check(oss.Options{Endpoint: "http://127.0.0.1:1"}), backend.ErrTransient, "nothing listens there", "127.0.0.1:1")
	backendtest.Says(t, "a name that is none", check(oss.Options{Endpoint: "http://nowhere.invalid"}), backend.ErrTransient, "nowhere.invalid", "store.oss.endpoint")
	backendtest.Says(t, "another region", check(oss.Options{Region: "cn-elsewhere"}), backend.ErrUnsupported, "set store.oss.region")
	server.SetSignature(ossfake.V4)
	backendtest.Says(t, "a signature that is not allowed", check(oss.Options{Signature: "v1"}), backend.ErrPermission, "signature version")
	server.SetClock(time.Hour)
	backendtest.Says(t, "a clock that is wrong", check(oss.Options{}), backend.ErrPermission, "clock of this host")
	server.SetClock(0)
	t.Setenv("OSS_ACCESS_KEY_SECRET", "wrong")
	backendtest.Says(t, "a wrong secret", check(oss.Options{}), backend.ErrPermission, "the secret does not belong to the key", "OSS_ACCESS_KEY_SECRET")
	t.Setenv("OSS_ACCESS_KEY_ID", "nobody")
	backendtest.Says(t, "an unknown key", check(oss.Options{}), backend.ErrPermission, "OSS_ACCESS_KEY_ID")
	t.Setenv("OSS_ACCESS_KEY_ID", "")
	backendtest.Says(t, "no key at all", check(oss.Options{}), backend.ErrPermission, "OSS_ACCESS_KEY_ID", "RRSA", "role")
}

func TestErrorCodes(t *testing.T) {
	setEnviron(t)
	server := ossfake.New(t, bucket)
	for _, tt := range []struct {
		status int
		code   string
		kind   error
		words  string
	}{
		{403, "AccessDenied", backend.ErrPermission, "oss:PutObject"},
		{403, "SecurityTokenExpired", backend.ErrPermission, "renew the credentials"},
		{403, "UserDisable", backend.ErrPermission, "overdue"},
		{503, "SlowDown", backend.ErrTransient, "fewer requests"},
		{503, "DownloadTrafficRateLimitExceeded", backend.ErrTransient, "fewer requests"},
		{503, "", backend.ErrTransient, "http://127.0.0.1:PORT answered 503"},
		{500, "InternalError", backend.ErrTransient, "http://127.0.0.1:PORT answered 500"},
		{404, "NoSuchBucket", backend.ErrUnsupported, "no such bucket"},
		{400, "BucketTransferAccDisabled", backend.ErrUnsupported, "store.oss.accelerate"},
		{404, "PageNotFound", backend.ErrTransient, "check store.oss.endpoint"},
		{418, "Teapot", backend.ErrUnsupported, "418 Teapot"},
		{520, "Strange", backend.ErrTransient, "520"},
	} {
		server.SetRefuse(func(w http.ResponseWriter, r *http.Request) bool {
			ossfake.Refuse(w, r, tt.status, tt.code)
			return true
		})
		words := strings.Replace(tt.words, "http://127.0.0.1:PORT", server.URL, 1)
		backendtest.Says(t, "Check when the store says "+tt.code, open(t, server, oss.Options{}).Check(t.Context()), tt.kind, words)
	}
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		kind   error
		words  string
	}{
		"a redirect": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://b.oss-cn-beijing.aliyuncs.com/")
			w.WriteHeader(http.StatusMovedPermanently)
		}, backend.ErrUnsupported, "oss-cn-beijing"},
		"another endpoint": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, "<Error><Code>AccessDenied</Code><Endpoint>oss-cn-beijing.aliyuncs.com</Endpoint></Error>")
		}, backend.ErrUnsupported, "set store.oss.endpoint to oss-cn-beijing.aliyuncs.com"},
		"a page of a proxy": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>Log in<br>") }, backend.ErrTransient, "check store.oss.endpoint"},
		"an error page":     {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "go away", http.StatusNotFound) }, backend.ErrTransient, "check store.oss.endpoint"},
	} {
		server.SetRefuse(func(w http.ResponseWriter, r *http.Request) bool {
			tt.answer(w, r)
			return true
		})
		backendtest.Says(t, name, open(t, server, oss.Options{}).Check(t.Context()), tt.kind, tt.words)
	}
}

func TestReadOnlyKey(t *testing.T) {
	setEnviron(t)
	server := ossfake.New(t, bucket)
	server.SetKey(ossfake.AccessKey, ossfake.Key{Secret: ossfake.SecretKey, ReadOnly: true})
	s := open(t, server, oss.Options{})
	backendtest.Says(t, "Check", s.Check(t.Context()), backend.ErrPermission, "write below oss://a-bucket", "oss:PutObject")
	_, err := s.Put(t.Context(), backendtest.Object("a", []byte("body")))
	backendtest.Says(t, "Put", err, backend.ErrPermission, "oss:PutObject")
	_, err = s.Stat(t.Context(), "a")
	backendtest.WantKind(t, "Stat", err, backend.ErrNotExist)
}

// TestEntityTooSmall names the setting.
func TestEntityTooSmall(t *testing.T) {
	setEnviron(t)
	server := ossfake.New(t, bucket)
	s := open(t, server, oss.Options{PartSize: 1000})
	st, err := s.Stage(t.Context(), backendtest.Object("a", backendtest.Pattern(10_000)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = st.Commit(t.Context())
	backendtest.Says(t, "Commit", err, backend.ErrUnsupported, "store.oss.part_size")
	if err := st.Abort(t.Context()); err != nil || server.Uploads(bucket) != 0 {
		t.Errorf("Abort = %v, %d uploads are left", err, server.Uploads(bucket))
	}
}

// TestSpoiledPart has another client write into an upload: the store notices
// by the ETag, and the object is sent again.
func TestSpoiledPart(t *testing.T) {
	setEnviron(t)
	server := ossfake.New(t, bucket)
	s := open(t, server, oss.Options{})
	st, err := s.Stage(t.Context(), backendtest.Object("a", []byte("ours")))
	if err != nil {
		t.Fatal(err)
	}
	server.Spoil(bucket, 1, []byte("what?"))
	_, err = st.Commit(t.Context())
	backendtest.WantKind(t, "Commit", err, backend.ErrGone)
	if n, keys := server.Uploads(bucket), server.Keys(bucket); n != 0 || len(keys) != 0 {
		t.Errorf("%d uploads and %q are left", n, keys)
	}
}

// TestChangedOnTheWay has bytes change where TCP does not notice: nothing of
// it stays, and a part is sent again.
func TestChangedOnTheWay(t *testing.T) {
	setEnviron(t)
	server := ossfake.New(t, bucket)
	s := open(t, server, oss.Options{})
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	var left atomic.Int32
	server.SetRefuse(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && left.Add(-1) >= 0 {
			r.Body = flip{r.Body}
		}
		return false
	})
	left.Store(1)
	body := backendtest.Pattern(300 << 10)
	_, err := s.Put(t.Context(), backendtest.Object("put", body))
	backendtest.Says(t, "Put", err, backend.ErrTransient, "checksum")
	if keys := server.Keys(bucket); len(keys) != 0 {
		t.Errorf("%q is left", keys)
	}
	left.Store(1)
	st, err := s.Stage(t.Context(), backendtest.Object("staged", body))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	backendtest.WantBody(t, s, "staged", body)
}

// TestThrottled leaves a store alone for as long as it asks, with all calls.
func TestThrottled(t *testing.T) {
	setEnviron(t)
	server := ossfake.New(t, bucket)
	proxy := faultproxy.New(t, server.URL)
	s := open(t, server, oss.Options{Endpoint: proxy.URL})
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	proxy.Set(faultproxy.Rule{Call: faultproxy.Put, Fault: faultproxy.SlowDown, Count: 1})
	_, err := s.Put(t.Context(), backendtest.Object("a", []byte("body")))
	backendtest.Says(t, "Put", err, backend.ErrTransient, "fewer requests")
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = s.Stat(ctx, "a")
	backendtest.Says(t, "Stat that waits", err, context.DeadlineExceeded, "asked to be left alone")
	if _, err := s.Stat(t.Context(), "a"); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("Stat = %v", err)
	}
	if d := time.Since(start); d < 900*time.Millisecond {
		t.Errorf("the next call came after %v", d)
	}
}

// TestSilentStore ends every call with its context, whatever the store does.
func TestSilentStore(t *testing.T) {
	setEnviron(t)
	server := ossfake.New(t, bucket)
	s := open(t, server, oss.Options{})
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), backendtest.Object("there", []byte("body"))); err != nil {
		t.Fatal(err)
	}
	silent := make(chan struct{})
	defer close(silent)
	server.SetRefuse(func(http.ResponseWriter, *http.Request) bool { <-silent; return true })
	backendtest.Silent(t, s, "there")
}

// TestStageGivesUp leaves no upload behind when the parts do not get there.
func TestStageGivesUp(t *testing.T) {
	setEnviron(t)
	server := ossfake.New(t, bucket)
	s := open(t, server, oss.Options{PartSize: 1000})
	server.SetRefuse(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("partNumber") != "3" {
			return false
		}
		ossfake.Refuse(w, r, http.StatusInternalServerError, "InternalError")
		return true
	})
	_, err := s.Stage(t.Context(), backendtest.Object("a", backendtest.Pattern(10_000)))
	backendtest.WantKind(t, "Stage", err, backend.ErrTransient)
	if n := server.Uploads(bucket); n != 0 {
		t.Errorf("%d uploads are left", n)
	}
}

// TestRequests holds the good path to the requests it needs.
func TestRequests(t *testing.T) {
	setEnviron(t)
	server := ossfake.New(t, bucket)
	s := open(t, server, oss.Options{PartSize: 100 << 10})
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Calls()
	if _, err := s.Put(t.Context(), backendtest.Object("a", []byte("body"))); err != nil || server.Calls() != 1 {
		t.Errorf("Put = %v, or not in 1 request", err)
	}
	st, err := s.Stage(t.Context(), backendtest.Object("b", backendtest.Pattern(400<<10)))
	if err != nil {
		t.Fatal(err)
	}
	if n := server.Calls(); n != 5 {
		t.Errorf("Stage of 4 parts took %d requests, want 5", n)
	}
	if _, err := st.Commit(t.Context()); err != nil || server.Calls() != 1 {
		t.Errorf("Commit = %v, or not in 1 request", err)
	}
}

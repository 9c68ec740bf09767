package faultproxy_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/internal/faultproxy"
)

func TestCallOf(t *testing.T) {
	for _, tt := range []struct {
		method, url string
		want        faultproxy.Call
	}{
		{"PUT", "/b/k?x-id=PutObject", faultproxy.Put},
		{"POST", "/b/k?uploads=", faultproxy.Begin},
		{"PUT", "/b/k?partNumber=1&uploadId=2", faultproxy.Part},
		{"POST", "/b/k?uploadId=2", faultproxy.Complete},
		{"DELETE", "/b/k?uploadId=2", faultproxy.Abort},
		{"DELETE", "/b/k", faultproxy.Delete},
		{"HEAD", "/b/k", faultproxy.Head},
		{"GET", "/b/k", faultproxy.Get},
		{"GET", "/b?list-type=2&prefix=a%2F", faultproxy.List},
		{"GET", "/b/?prefix=a", faultproxy.List},
		{"GET", "/b?uploads", faultproxy.Uploads},
		{"POST", "/b?delete", faultproxy.Other},
	} {
		if got := faultproxy.CallOf(httptest.NewRequest(tt.method, tt.url, http.NoBody)); got != tt.want {
			t.Errorf("%s %s is %q, want %q", tt.method, tt.url, got, tt.want)
		}
	}
}

// TestFaults tells what reached the store, and what the client saw of it.
func TestFaults(t *testing.T) {
	var reached, whole, open atomic.Int64
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open.Add(1)
		defer open.Add(-1)
		reached.Add(1)
		if body, err := io.ReadAll(r.Body); err == nil && len(body) == 1000 {
			whole.Add(1)
		}
		_, _ = io.WriteString(w, "an answer") // the client looks
	}))
	t.Cleanup(store.Close)
	p := faultproxy.New(t, store.URL)
	for _, tt := range []struct {
		fault          faultproxy.Fault
		reached, whole int64
		status         int // 0 when there is no answer
		all            bool
	}{
		{"", 1, 1, 200, true},
		{faultproxy.DropBefore, 0, 0, 0, false},
		{faultproxy.Reset, 0, 0, 0, false},
		{faultproxy.DropAfter, 1, 1, 0, false},
		{faultproxy.Truncate, 1, 1, 200, false},
		{faultproxy.Cut, 1, 0, 0, false},
		{faultproxy.Duplicate, 2, 2, 200, true},
		{faultproxy.Delay, 1, 1, 200, true},
		{faultproxy.Error500, 0, 0, 500, false},
		{faultproxy.SlowDown, 0, 0, 503, false},
		{faultproxy.ErrorIn200, 1, 1, 200, false},
	} {
		reached.Store(0)
		whole.Store(0)
		p.Set()
		if tt.fault != "" {
			p.Set(faultproxy.Rule{Call: faultproxy.Put, Fault: tt.fault, Count: 1})
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, p.URL+"/b/k", strings.NewReader(strings.Repeat("x", 1000)))
		if err != nil {
			t.Fatal(err)
		}
		status, text := 0, ""
		if answer, err := http.DefaultClient.Do(r); err == nil {
			body, err := io.ReadAll(answer.Body)
			_ = answer.Body.Close() // it was read
			status = answer.StatusCode
			if err == nil {
				text = string(body)
			}
		}
		for tick := time.NewTicker(time.Millisecond); reached.Load() < tt.reached || open.Load() > 0; { // what was cut may still arrive
			select {
			case <-tick.C:
			case <-t.Context().Done():
				t.Fatal("the test ends")
			}
		}
		if reached.Load() != tt.reached || whole.Load() != tt.whole || status != tt.status || (text == "an answer") != tt.all {
			t.Errorf("%q: %d requests reached the store, %d whole, the client saw %d %q", tt.fault, reached.Load(), whole.Load(), status, text)
		}
	}
}

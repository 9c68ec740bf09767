package backendtest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
)

// SaysWhoIsSilent holds a store at an endpoint that takes connections and
// never answers to an error that names the endpoint.
func SaysWhoIsSilent(t *testing.T, open func(endpoint string) backend.Store) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // the kernel takes the connections
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	endpoint := "http://" + l.Addr().String()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	Says(t, "an endpoint that is silent", open(endpoint).Check(ctx), context.DeadlineExceeded, "no answer from "+endpoint)
}

// EndsInTime has a store become silent in the middle of Check, which ends with
// its context all the same: what it would tidy up waits for nobody.
func EndsInTime(t *testing.T, store http.Handler, open func(endpoint string) backend.Store) {
	t.Helper()
	for answers := range 3 {
		var asked atomic.Int32
		over := make(chan struct{})
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if int(asked.Add(1)) > answers {
				<-over
				return
			}
			store.ServeHTTP(w, r)
		}))
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		start := time.Now()
		err := open(server.URL).Check(ctx)
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > 5*time.Second {
			t.Errorf("Check of a store that is silent after %d answers = %v after %v", answers, err, took)
		}
		cancel()
		close(over)
		server.Close()
	}
}

// BelievesNoWebServer has a driver speak to one that says yes to everything,
// as some proxies do: nothing is taken for done or there, and the error names
// the setting. What such a one says of the probe is no word of the store
// either, which the proxy lists.
func BelievesNoWebServer(t *testing.T, setting, listing string, open func(endpoint string) backend.Store) {
	t.Helper()
	page := []byte("<html>log in</html>")
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // what is missing the client sees
		_, _ = w.Write(page)
	}))
	defer web.Close()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // what is missing the client sees
		if r.URL.Query().Has("list-type") {
			_, _ = w.Write([]byte(listing))
			return
		}
		_, _ = w.Write(page)
	}))
	defer proxy.Close()
	probed := open(proxy.URL)
	Says(t, "Check behind a proxy", probed.Check(t.Context()), backend.ErrTransient, setting)
	s := open(web.URL)
	for what, call := range map[string]func() error{
		"Check": func() error { return s.Check(t.Context()) },
		"Put":   func() error { _, err := s.Put(t.Context(), Object("a", []byte("ours"))); return err },
		"Open":  func() error { return closed(s.Open(t.Context(), "a", 0, -1)) },
		"range": func() error { return closed(s.Open(t.Context(), "a", 0, 4)) },
		"Stat":  func() error { _, err := s.Stat(t.Context(), "a"); return err },
		"List":  func() error { return s.List(t.Context(), "", "", func(string, backend.Info) error { return nil }) },
		"Stage": func() error { _, err := s.Stage(t.Context(), Object("a", []byte("ours"))); return err },
	} {
		err := call()
		if err == nil {
			t.Errorf("%s believes a web server", what)
		}
		if what == "Check" || what == "Put" || what == "Open" || what == "range" {
			Says(t, what, err, backend.ErrTransient, setting)
		}
	}
}

func closed(r io.ReadCloser, err error) error {
	if err == nil {
		err = r.Close()
	}
	return err
}

// Package faultproxy stands between a client and an object store and makes
// the network and the store fail: as told, for some calls of a kind.
package faultproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Fault is how a call fails.
type Fault string

// The faults.
const (
	DropBefore Fault = "drop-before" // the store never gets it, the connection closes
	DropAfter  Fault = "drop-after"  // the store did it, the answer is lost
	Delay      Fault = "delay"       // it takes longer than anybody wants
	Truncate   Fault = "truncate"    // half of the answer's body, then the connection closes
	Cut        Fault = "cut"         // half of the request's body reaches the store
	Duplicate  Fault = "duplicate"   // the store gets it twice, the second answer counts
	Error500   Fault = "500"         // the store never gets it, 500 InternalError
	SlowDown   Fault = "503"         // the store never gets it, 503 SlowDown with Retry-After
	Reset      Fault = "reset"       // the store never gets it, the connection is reset
	ErrorIn200 Fault = "200-error"   // the store did it, and answers 200 with an error in the body
)

// Faults lists them all, but for ErrorIn200, which is of one call.
func Faults() []Fault {
	return []Fault{DropBefore, DropAfter, Delay, Truncate, Cut, Duplicate, Error500, SlowDown, Reset}
}

// Rule says which calls fail.
type Rule struct {
	Call  Call // "" is any
	Fault Fault
	Skip  int // so many go through first
	Count int // so many fail, 0 is all
}

// Proxy is an HTTP server in front of a store.
type Proxy struct {
	URL string // of the proxy

	upstream *url.URL
	server   *http.Server
	client   *http.Transport

	mu    sync.Mutex
	rules []*Rule
	calls map[Call]int
	hits  int
	slow  time.Duration
	edit  func(*http.Request)
}

// New starts a proxy in front of the URL until the test ends.
func New(t *testing.T, upstream string) *Proxy {
	t.Helper()
	u, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{
		URL: "http://" + l.Addr().String(), upstream: u, client: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		calls: map[Call]int{}, slow: 50 * time.Millisecond,
	}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() { defer close(done); _ = p.server.Serve(l) }() // says only that it was closed
	t.Cleanup(func() {
		_ = p.server.Close() // the connections that are cut by it are the test's
		<-done
		p.client.CloseIdleConnections()
	})
	return p
}

// Set replaces the rules.
func (p *Proxy) Set(rules ...Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = nil
	for _, r := range rules {
		p.rules = append(p.rules, &r)
	}
	p.hits = 0
}

// SetDelay is how long Delay takes.
func (p *Proxy) SetDelay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slow = d
}

// SetEdit has each request changed before the store gets it.
func (p *Proxy) SetEdit(edit func(*http.Request)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.edit = edit
}

// Hits is how many calls failed since Set.
func (p *Proxy) Hits() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hits
}

// Calls is how many calls of each kind were made, and sets them to 0.
func (p *Proxy) Calls() map[Call]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	calls := p.calls
	p.calls = map[Call]int{}
	return calls
}

// fault decides what happens to a call.
func (p *Proxy) fault(c Call) (Fault, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls[c]++
	for _, r := range p.rules {
		if r.Call != "" && r.Call != c {
			continue
		}
		if r.Skip > 0 {
			r.Skip--
			continue
		}
		if r.Count < 0 {
			continue // used up
		}
		if r.Count > 0 {
			if r.Count--; r.Count == 0 {
				r.Count = -1
			}
		}
		p.hits++
		return r.Fault, p.slow
	}
	return "", 0
}

// errCut is the end of a body that was cut.
var errCut = errors.New("cut by the fault proxy")

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault, slow := p.fault(CallOf(r))
	switch fault {
	case DropBefore:
		hangUp(w, false)
	case Reset:
		hangUp(w, true)
	case Error500:
		refuse(w, http.StatusInternalServerError, "InternalError", "told to fail")
	case SlowDown:
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, "SlowDown", "told to slow down")
	case Cut:
		half := io.MultiReader(io.LimitReader(r.Body, r.ContentLength/2), failing{})
		if answer, err := p.forward(r, half); err == nil {
			_ = answer.Body.Close() // a store that answers half a request is not believed
		}
		hangUp(w, false)
	case Delay:
		wait(r.Context(), slow)
		p.pass(w, r, r.Body, fault)
	case Duplicate:
		p.twice(w, r)
	case DropAfter, Truncate, ErrorIn200, "":
		p.pass(w, r, r.Body, fault)
	}
}

func (p *Proxy) twice(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		hangUp(w, false)
		return
	}
	first, err := p.forward(r, bytes.NewReader(body))
	if err == nil {
		_, _ = io.Copy(io.Discard, first.Body) // only that it is over counts
		_ = first.Body.Close()                 // it was read
	}
	p.pass(w, r, bytes.NewReader(body), "")
}

// pass forwards a call and its answer, as far as the fault lets it.
func (p *Proxy) pass(w http.ResponseWriter, r *http.Request, body io.Reader, fault Fault) {
	answer, err := p.forward(r, body)
	if err != nil {
		hangUp(w, false)
		return
	}
	defer answer.Body.Close()
	switch fault {
	case DropAfter:
		_, _ = io.Copy(io.Discard, answer.Body) // the store is through with it then
		hangUp(w, false)
		return
	case ErrorIn200:
		if answer.StatusCode == http.StatusOK {
			_, _ = io.Copy(io.Discard, answer.Body) // as above
			refuse(w, http.StatusOK, "InternalError", "told to fail late")
			return
		}
	case Truncate:
		p.truncate(w, answer)
		return
	}
	header(w, answer)
	_, _ = io.Copy(w, answer.Body) // the client sees what is missing
}

// truncate announces all of the answer and sends half of it; one without a
// body is lost as a whole.
func (p *Proxy) truncate(w http.ResponseWriter, answer *http.Response) {
	body, err := io.ReadAll(answer.Body)
	if err != nil || len(body) == 0 {
		hangUp(w, false)
		return
	}
	answer.Header.Set("Content-Length", strconv.Itoa(len(body)))
	header(w, answer)
	_, _ = w.Write(body[:len(body)/2]) // the client sees what is missing
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	hangUp(w, false)
}

func header(w http.ResponseWriter, answer *http.Response) {
	maps.Copy(w.Header(), answer.Header)
	w.WriteHeader(answer.StatusCode)
}

// forward sends a request on as it is, with the host that was signed.
func (p *Proxy) forward(r *http.Request, body io.Reader) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.RequestURI = ""
	out.URL.Scheme, out.URL.Host = p.upstream.Scheme, p.upstream.Host
	out.Body = io.NopCloser(body)
	if r.ContentLength == 0 {
		out.Body = http.NoBody
	}
	p.mu.Lock()
	edit := p.edit
	p.mu.Unlock()
	if edit != nil {
		edit(out)
	}
	return p.client.RoundTrip(out)
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errCut }

// hangUp closes the connection without another word.
func hangUp(w http.ResponseWriter, reset bool) {
	h, ok := w.(http.Hijacker)
	if !ok {
		return
	}
	conn, _, err := h.Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0) // then it is a plain close, also good
	}
	_ = conn.Close() // what is lost is the point
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code, message)
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

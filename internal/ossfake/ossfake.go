// Package ossfake is a server that speaks the protocol of Alibaba Cloud OSS,
// as far as a store of finished files needs it and from its documentation: it
// checks signatures, answers with CRC64, keeps to the rules of multipart
// uploads and of versioned buckets. Objects are held in memory. It is for
// tests only.
package ossfake

import (
	"context"
	"crypto/md5" // the ETag and Content-MD5 are such
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Key is what may sign requests.
type Key struct {
	Secret   string
	Token    string // of temporary credentials
	Expired  bool
	ReadOnly bool
}

// The credentials and the region of a server that is told no others.
const (
	AccessKey = "test-key"
	SecretKey = "test-secret"
	Region    = "cn-test"
)

// Signature is a version of the signature.
type Signature string

// The versions.
const (
	V1 Signature = "v1"
	V4 Signature = "v4"
)

// Versioning is the state of a bucket.
type Versioning string

// The states.
const (
	Unversioned Versioning = ""
	Enabled     Versioning = "Enabled"
	Suspended   Versioning = "Suspended"
)

// Server is one OSS region.
type Server struct {
	URL string

	stop    func() // nil of one that is only a handler, or stopped
	mu      sync.Mutex
	keys    map[string]Key
	region  string
	only    Signature // "" takes both
	buckets map[string]*bucket
	domains map[string]string // CNAME: host to bucket
	minPart int64
	pages   int // most entries of a listing
	ahead   time.Duration
	latency time.Duration
	refuse  func(w http.ResponseWriter, r *http.Request) bool
	calls   int
	ids     int
}

type bucket struct {
	name       string
	versioning Versioning
	objects    map[string][]version // the newest last
	sorted     []string             // keys of all objects, nil when that changed
	uploads    map[string]*upload
}

// New starts a server until the test ends, with one key and the buckets.
func New(tb testing.TB, buckets ...string) *Server {
	tb.Helper()
	s := Make(buckets...)
	if err := s.Run(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Stop)
	return s
}

// Run serves, again where it did before it was stopped.
func (s *Server) Run(ctx context.Context) error {
	addr := strings.TrimPrefix(s.URL, "http://")
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	s.URL = "http://" + l.Addr().String()
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }() // says only that it was closed
	s.stop = func() {
		_ = server.Close() // the connections that are cut by it are the test's
		<-done
	}
	return nil
}

// Stop has nothing listen any more, cuts all connections and keeps the
// objects.
func (s *Server) Stop() {
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

// Make makes a server that is only a handler.
func Make(buckets ...string) *Server {
	s := &Server{
		keys: map[string]Key{AccessKey: {Secret: SecretKey}}, buckets: map[string]*bucket{}, domains: map[string]string{},
		minPart: 100 << 10, pages: 1000, region: Region,
	}
	for _, name := range buckets {
		s.MakeBucket(name)
	}
	return s
}

// Environ are the variables with the credentials of New, for a client.
func Environ() map[string]string {
	return map[string]string{
		"OSS_ACCESS_KEY_ID": AccessKey, "OSS_ACCESS_KEY_SECRET": SecretKey, "OSS_SESSION_TOKEN": "",
		"HTTP_PROXY": "", "http_proxy": "",
	}
}

// set changes the server between two calls.
func (s *Server) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// MakeBucket makes one that is empty and has no versions.
func (s *Server) MakeBucket(name string) {
	s.set(func() {
		s.buckets[name] = &bucket{name: name, objects: map[string][]version{}, uploads: map[string]*upload{}}
	})
}

// RenameBucket gives a bucket with all that is in it another name.
func (s *Server) RenameBucket(from, to string) {
	s.set(func() {
		s.buckets[to] = s.buckets[from]
		delete(s.buckets, from)
	})
}

// SetVersioning switches the versions of a bucket.
func (s *Server) SetVersioning(name string, v Versioning) {
	s.set(func() { s.buckets[name].versioning = v })
}

// SetKey gives or changes a key; a secret of "" takes it away.
func (s *Server) SetKey(id string, k Key) {
	s.set(func() {
		if s.keys[id] = k; k.Secret == "" {
			delete(s.keys, id)
		}
	})
}

// SetRegion has it be one of another region than Region.
func (s *Server) SetRegion(name string) { s.set(func() { s.region = name }) }

// SetSignature has the server take only this version.
func (s *Server) SetSignature(only Signature) { s.set(func() { s.only = only }) }

// SetDomain makes a host name one of a bucket's own.
func (s *Server) SetDomain(host, bucket string) { s.set(func() { s.domains[host] = bucket }) }

// SetMinPart is the least size of all parts but the last, 100 KiB unless told.
func (s *Server) SetMinPart(n int64) { s.set(func() { s.minPart = n }) }

// SetPages is how many entries a listing has at most, 1,000 unless told.
func (s *Server) SetPages(n int) { s.set(func() { s.pages = n }) }

// SetClock puts the server's clock ahead.
func (s *Server) SetClock(ahead time.Duration) { s.set(func() { s.ahead = ahead }) }

// SetLatency has each call take longer.
func (s *Server) SetLatency(d time.Duration) { s.set(func() { s.latency = d }) }

// SetRefuse is asked before each call; true says that it has answered.
func (s *Server) SetRefuse(refuse func(w http.ResponseWriter, r *http.Request) bool) {
	s.set(func() { s.refuse = refuse })
}

// Calls is how many calls were made, and sets it to 0.
func (s *Server) Calls() (n int) {
	s.set(func() { n, s.calls = s.calls, 0 })
	return n
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.calls++
	s.ids++
	id, refuse, latency := fmt.Sprintf("%024X", s.ids), s.refuse, s.latency
	s.mu.Unlock()
	w.Header().Set("X-Oss-Request-Id", id)
	w.Header().Set("Server", "AliyunOSS")
	wait(r.Context(), latency)
	if refuse != nil && refuse(w, r) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client hung up
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.serve(&call{w, r, body, s.now()}); f != nil {
		f.write(w, r, id)
	}
}

func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (s *Server) now() time.Time { return time.Now().Add(s.ahead).UTC() }

// call is one request, with all of its body.
type call struct {
	w    http.ResponseWriter
	r    *http.Request
	body []byte
	now  time.Time
}

func (s *Server) serve(c *call) *failure {
	name, key := s.address(c.r)
	if f := s.authenticate(c, name, key); f != nil {
		return f
	}
	b := s.buckets[name]
	if b == nil {
		return &failure{http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist.", "0015-00000101"}
	}
	if text := c.r.Header.Get("Content-Md5"); text != "" {
		if sum := md5.Sum(c.body); text != base64.StdEncoding.EncodeToString(sum[:]) {
			return &failure{http.StatusBadRequest, "InvalidDigest", "The Content-MD5 you specified was invalid.", "0002-00000054"}
		}
	}
	if key == "" {
		return s.serveBucket(c, b)
	}
	if len(key) > 1023 || key[0] == '/' || key[0] == '\\' || strings.ToValidUTF8(key, "") != key {
		return &failure{http.StatusBadRequest, "InvalidObjectName", "The specified object is not valid.", "0002-00000602"}
	}
	q := c.r.URL.Query()
	if q.Has("uploads") || q.Has("uploadId") {
		return s.serveUpload(c, b, key)
	}
	return s.serveObject(c, b, key)
}

func (s *Server) serveBucket(c *call, b *bucket) *failure {
	q := c.r.URL.Query()
	switch {
	case c.r.Method == http.MethodGet && q.Has("uploads"):
		return s.listUploads(c, b)
	case c.r.Method == http.MethodGet && q.Get("list-type") == "2":
		return s.list(c, b)
	}
	return notImplemented()
}

func notImplemented() *failure {
	return &failure{http.StatusNotImplemented, "NotImplemented", "A header or query you provided implies functionality that is not implemented.", "0003-00000001"}
}

// address tells bucket and key: of the path where the host is an IP address,
// else the bucket is in the host's name or the host is its own.
func (s *Server) address(r *http.Request) (name, key string) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	path := strings.TrimPrefix(r.URL.Path, "/")
	if net.ParseIP(host) != nil {
		name, key, _ = strings.Cut(path, "/")
		return name, key
	}
	if own, ok := s.domains[host]; ok {
		return own, path
	}
	name, _, _ = strings.Cut(host, ".")
	return name, path
}

// failure is an answer that says no.
type failure struct {
	status            int
	code, message, ec string
}

func (f *failure) write(w http.ResponseWriter, r *http.Request, id string) {
	text := fmt.Sprintf("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message><RequestId>%s</RequestId><HostId>%s</HostId><EC>%s</EC></Error>",
		f.code, f.message, id, r.Host, f.ec)
	h := w.Header()
	h.Set("X-Oss-Ec", f.ec)
	if r.Method == http.MethodHead {
		// There is no body to say it in.
		h.Set("X-Oss-Err", base64.StdEncoding.EncodeToString([]byte(text)))
		w.WriteHeader(f.status)
		return
	}
	h.Set("Content-Type", "application/xml")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(f.status)
	_, _ = io.WriteString(w, text) // the client sees what is missing
}

// Refuse answers a call with an error, for SetRefuse.
func Refuse(w http.ResponseWriter, r *http.Request, status int, code string) {
	(&failure{status, code, "as told", "0000-00000000"}).write(w, r, w.Header().Get("X-Oss-Request-Id"))
}

func etag(body []byte) string {
	sum := md5.Sum(body)
	return `"` + strings.ToUpper(hex.EncodeToString(sum[:])) + `"`
}

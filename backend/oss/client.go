package oss

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	aliyun "github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

// newBucket puts together how the bucket is spoken to. The SDK retries
// nothing, whatever its configuration says; each kind of call has its own
// rule here.
func newBucket(o Options, c *chain, gate *objects.Gate) (*aliyun.Bucket, error) {
	web, err := newHTTPClient(o, gate)
	if err != nil {
		return nil, err
	}
	options := []aliyun.ClientOption{
		aliyun.SetCredentialsProvider(c), aliyun.HTTPClient(web), aliyun.UseCname(o.CNAME),
		aliyun.Region(o.Region), aliyun.RedirectEnabled(false), aliyun.UserAgent("sinkfs"),
		aliyun.EnableCRC(false), // the driver does it, once for each byte
	}
	if o.Signature == "v1" {
		options = append(options, aliyun.AuthVersion(aliyun.AuthV1))
	} else {
		options = append(options, aliyun.AuthVersion(aliyun.AuthV4))
	}
	client, err := aliyun.New(o.Endpoint, "", "", options...)
	if err != nil {
		return nil, fmt.Errorf("store.oss.endpoint: %w", err)
	}
	return client.Bucket(o.Bucket)
}

// newHTTPClient makes one of our own: the SDK's connects without a context,
// has no timeout for TLS, and follows redirects with a body that is spent.
func newHTTPClient(o Options, gate *objects.Gate) (*http.Client, error) {
	setup, err := objects.Network{Proxy: o.Proxy, CAFile: o.CAFile, Connections: o.Connections}.Transport()
	if err != nil {
		return nil, err
	}
	d := &net.Dialer{}
	objects.Dialer(d)
	t := &http.Transport{
		DialContext: d.DialContext, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10,
		// OSS would compress text on its way, without its checksum.
		DisableCompression: true,
	}
	setup(t)
	return &http.Client{
		Transport:     &watcher{next: t, gate: gate},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// watcher leaves the store alone for as long as it asks, with all calls, and
// tells redirects, which the SDK has no error for.
type watcher struct {
	next http.RoundTripper
	gate *objects.Gate
}

// RoundTrip implements http.RoundTripper.
func (w *watcher) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := w.gate.Do(r, w.next.RoundTrip)
	if err == nil && answer.StatusCode >= http.StatusMultipleChoices && answer.StatusCode < http.StatusBadRequest {
		_ = answer.Body.Close() // where it leads to is in a header
		return nil, &redirectError{answer.StatusCode, answer.Header.Get("Location")}
	}
	return answer, err
}

// redirectError is an answer that names another place.
type redirectError struct {
	status   int
	location string
}

func (e *redirectError) Error() string { return fmt.Sprintf("%d, it is at %s", e.status, e.location) }

// v4Time is how signatures of version 4 write the time.
const v4Time = "20060102T150405Z"

// call makes a call with what all have in common, and gives its errors their
// kind. The header of the answer is there with an error, too.
func (s *Store) call(ctx context.Context, what string, do func(options []aliyun.Option) error, options ...aliyun.Option) (http.Header, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	if err := s.chain.ready(ctx); err != nil {
		return nil, s.failure(ctx, what, err, nil)
	}
	var header http.Header
	options = append(options, aliyun.WithContext(ctx), aliyun.GetResponseHeader(&header))
	if s.options.Signature != "v1" {
		// Else the SDK signs the Date, which is not what is documented.
		options = append(options, aliyun.SetHeader(aliyun.HttpHeaderOssDate, time.Now().UTC().Format(v4Time)))
	}
	if s.options.RequesterPays {
		options = append(options, aliyun.RequestPayer(aliyun.Requester))
	}
	if err := do(options); err != nil {
		return header, s.failure(ctx, what, err, header)
	}
	return header, nil
}

// errEmpty is a yes that says nothing.
var errEmpty = errors.New("the answer is empty")

package s3

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sys/unix"
)

const (
	dialTimeout = 5 * time.Second
	tlsTimeout  = 10 * time.Second
	// headerTimeout is for a Complete of many parts, which takes its time.
	headerTimeout = 3 * time.Minute
	// idleTimeout is shorter than that of the servers: a connection that they
	// closed a moment ago would cost a failed call.
	idleTimeout = 15 * time.Second
	// lostTimeout ends a connection whose peer acknowledges nothing any more.
	lostTimeout = 30 * time.Second
)

// newClient puts together how the store is spoken to. Nothing is retried in
// it: each kind of call has its own rule.
func newClient(ctx context.Context, o Options) (*awss3.Client, *chain, error) {
	web, err := newHTTPClient(o)
	if err != nil {
		return nil, nil, err
	}
	chain := &chain{role: o.RoleARN, load: func(ctx context.Context) (aws.Config, error) {
		options := []func(*config.LoadOptions) error{config.WithHTTPClient(web), config.WithSharedConfigProfile(o.Profile)}
		if o.Region != "" {
			options = append(options, config.WithRegion(o.Region))
		}
		return config.LoadDefaultConfig(ctx, options...)
	}}
	cfg, err := chain.load(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("read the AWS configuration (profile %q): %w", o.Profile, err)
	}
	setDefault(&cfg.Region, defaultRegion)
	client := awss3.NewFromConfig(cfg, func(c *awss3.Options) {
		c.Credentials = chain
		c.HTTPClient = &watcher{next: web}
		c.Retryer = aws.NopRetryer{}
		c.UsePathStyle = o.PathStyle
		if o.Endpoint != "" {
			c.BaseEndpoint = aws.String(o.Endpoint)
		}
		c.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		c.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		// The checksum is in a signed header; a hash of the payload on top
		// would cost more than all else together.
		c.APIOptions = append(c.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
	})
	return client, chain, nil
}

func newHTTPClient(o Options) (*awshttp.BuildableClient, error) {
	roots, err := certificates(o.CAFile)
	if err != nil {
		return nil, err
	}
	proxy := http.ProxyFromEnvironment
	if o.Proxy != "" {
		u, err := url.Parse(o.Proxy)
		if err != nil {
			return nil, fmt.Errorf("the proxy: %w", err)
		}
		proxy = http.ProxyURL(u)
	}
	web := awshttp.NewBuildableClient().WithDialerOptions(func(d *net.Dialer) {
		d.Timeout = dialTimeout
		d.Control = loseDeadPeers
	}).WithTransportOptions(func(t *http.Transport) {
		t.Proxy = proxy
		t.MaxConnsPerHost, t.MaxIdleConnsPerHost, t.MaxIdleConns = o.Connections, o.Connections, 2*o.Connections
		t.IdleConnTimeout, t.TLSHandshakeTimeout, t.ResponseHeaderTimeout = idleTimeout, tlsTimeout, headerTimeout
		// One HTTP/2 connection would carry all parts in one window.
		t.ForceAttemptHTTP2 = false
		t.Protocols = new(http.Protocols)
		t.Protocols.SetHTTP1(true)
		if roots != nil {
			t.TLSClientConfig.RootCAs = roots
		}
	})
	return web, nil
}

// certificates are the system's and those of the file, nil when there is none.
func certificates(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the certificates of the store: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM, name a file with the CA of the store", file)
	}
	return roots, nil
}

func loseDeadPeers(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(lostTimeout.Milliseconds()))
	}); e != nil {
		return e
	}
	return err
}

// watcher leaves the store alone for as long as it asks, with all calls.
type watcher struct {
	next aws.HTTPClient
	gate gate
}

// Do implements aws.HTTPClient.
func (w *watcher) Do(r *http.Request) (*http.Response, error) {
	if err := w.gate.wait(r.Context()); err != nil {
		return nil, err
	}
	answer, err := w.next.Do(r)
	if err != nil {
		return answer, err
	}
	if answer.StatusCode == http.StatusServiceUnavailable || answer.StatusCode == http.StatusTooManyRequests {
		w.gate.hold(retryAfter(answer.Header))
	}
	return answer, nil
}

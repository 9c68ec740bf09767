package objects

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

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

// Network is how a store is reached.
type Network struct {
	Proxy       string // URL; else that of the environment
	CAFile      string // PEM certificates to trust besides the system's
	Connections int    // at a time
}

// Transport returns what sets up a transport, which has a TLS configuration.
func (n Network) Transport() (func(*http.Transport), error) {
	roots, err := certificates(n.CAFile)
	if err != nil {
		return nil, err
	}
	proxy := http.ProxyFromEnvironment
	if n.Proxy != "" {
		u, err := url.Parse(n.Proxy)
		if err != nil {
			return nil, fmt.Errorf("the proxy: %w", err)
		}
		all := http.ProxyURL(u)
		proxy = func(r *http.Request) (*url.URL, error) {
			// Metadata services (169.254.169.254, 169.254.170.2, fd00:ec2::254)
			// are this host's: a proxy would ask its own.
			if ip := net.ParseIP(r.URL.Hostname()); ip != nil && (ip.IsLinkLocalUnicast() || strings.HasPrefix(ip.String(), "fd00:ec2::")) {
				return nil, nil
			}
			return all(r)
		}
	}
	return func(t *http.Transport) {
		t.Proxy = proxy
		t.MaxConnsPerHost, t.MaxIdleConnsPerHost, t.MaxIdleConns = n.Connections, n.Connections, 2*n.Connections
		t.IdleConnTimeout, t.TLSHandshakeTimeout, t.ResponseHeaderTimeout = idleTimeout, tlsTimeout, headerTimeout
		// One HTTP/2 connection would carry all parts in one window.
		t.ForceAttemptHTTP2 = false
		t.Protocols = new(http.Protocols)
		t.Protocols.SetHTTP1(true)
		if roots != nil {
			t.TLSClientConfig.RootCAs = roots
		}
	}, nil
}

// Dialer sets up how connections are made.
func Dialer(d *net.Dialer) {
	d.Timeout = dialTimeout
	d.Control = loseDeadPeers
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

package objects

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
)

// Meaning is what an answer means to the lifecycle, and what a person can do
// about it.
type Meaning struct {
	Kind   error
	Remedy string
}

// CallError is an error of a call: what was done, what the store said, what
// to do. It is of a kind without saying so in its text.
type CallError struct {
	text string
	kind error
	err  error
}

// NewCallError makes one from the error behind it.
func NewCallError(what, said string, m Meaning, err error) *CallError {
	text := what + ": " + strings.TrimSuffix(said, ".")
	if m.Remedy != "" {
		text += ": " + m.Remedy
	}
	return &CallError{text, m.Kind, err}
}

// Error says it all in one line.
func (e *CallError) Error() string { return e.text }

// Unwrap returns the kind and the error behind it.
func (e *CallError) Unwrap() []error { return []error{e.kind, e.err} }

// NoAnswer explains a call that got none: what to do and what happened. The
// section is that of the store in the configuration, such as store.s3.
func NoAnswer(err error, section string) (remedy, said string) {
	var dns *net.DNSError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &dns):
		return "the name cannot be resolved: check " + section + ".endpoint and DNS", dns.Error()
	case errors.As(err, &authority):
		remedy = "the certificate is of an authority not known here, name it in " + section + ".ca_file"
	case errors.As(err, &host), errors.As(err, &invalid):
		remedy = "the certificate is not good for this endpoint, check " + section + ".endpoint and the clock"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		remedy = "the endpoint does not speak TLS, write http:// in " + section + ".endpoint"
	case errors.Is(err, syscall.ECONNREFUSED):
		remedy = "nothing listens there: check " + section + ".endpoint and that the store runs"
	}
	return remedy, root(err).Error()
}

// root is the error behind the layers of an SDK and of HTTP, each of which
// repeats the request.
func root(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

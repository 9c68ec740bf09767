package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sinkfs/sinkfs/backend"
)

var (
	// errConflict: two writers met at a key; either may have it now.
	errConflict = fmt.Errorf("another writer is at the same key: %w", backend.ErrTransient)
	// errRange: nothing is there, behind the end of an object.
	errRange = errors.New("past the end")
)

// meaning is what an answer means to the lifecycle, and what a person can do
// about it.
type meaning struct {
	kind   error
	remedy string
}

const (
	remedyKeys   = "give this key s3:GetObject, s3:PutObject, s3:ListBucket, s3:AbortMultipartUpload and s3:DeleteObject on the bucket and prefix"
	remedyToken  = "renew the credentials where they come from (environment, profile or role); they are read again at once"
	remedyClock  = "the clock of this host differs from the store's by too much, set it (timedatectl, chrony)"
	remedySecret = "the secret does not belong to the key, or a proxy changes requests: check AWS_SECRET_ACCESS_KEY or the profile"
	remedyBucket = "there is no such bucket at this endpoint: make it, or correct the target and store.s3.endpoint"
	remedyParts  = "this store wants larger parts, raise store.s3.part_size"
	remedyRegion = "set store.s3.region to the region of the bucket"
)

// meanings are the codes of S3 and of those who speak its protocol.
var meanings = map[string]meaning{
	"NoSuchKey":    {backend.ErrNotExist, ""},
	"NotFound":     {backend.ErrNotExist, ""},
	"NoSuchUpload": {backend.ErrGone, ""},
	// What was uploaded cannot become the object: it is sent again.
	"InvalidPart":      {backend.ErrGone, ""},
	"InvalidPartOrder": {backend.ErrGone, ""},

	"PreconditionFailed":         {backend.ErrExist, ""},
	"ConditionalRequestConflict": {errConflict, ""},
	"OperationAborted":           {errConflict, ""},
	"InvalidRange":               {errRange, ""},

	"NoSuchBucket":                       {backend.ErrUnsupported, remedyBucket},
	"InvalidBucketName":                  {backend.ErrUnsupported, remedyBucket},
	"PermanentRedirect":                  {backend.ErrUnsupported, remedyRegion},
	"AuthorizationHeaderMalformed":       {backend.ErrUnsupported, remedyRegion},
	"AuthorizationQueryParametersError":  {backend.ErrUnsupported, remedyRegion},
	"IllegalLocationConstraintException": {backend.ErrUnsupported, remedyRegion},
	"NotImplemented":                     {backend.ErrUnsupported, "if it is checksums that the store does not know, set store.s3.checksum to none"},
	"EntityTooSmall":                     {backend.ErrUnsupported, remedyParts},
	"EntityTooLarge":                     {backend.ErrUnsupported, "make parts smaller with rolling.max_part_size"},
	"InvalidStorageClass":                {backend.ErrUnsupported, "correct store.s3.storage_class"},
	"InvalidObjectState":                 {backend.ErrUnsupported, "the object is archived, restore it first"},

	"AccessDenied":          {backend.ErrPermission, remedyKeys},
	"Forbidden":             {backend.ErrPermission, remedyKeys},
	"MethodNotAllowed":      {backend.ErrPermission, remedyKeys},
	"AllAccessDisabled":     {backend.ErrPermission, "the account cannot be used, ask the store's operator"},
	"AccountProblem":        {backend.ErrPermission, "the account cannot be used, ask the store's operator"},
	"InvalidAccessKeyId":    {backend.ErrPermission, "the store does not know this access key: check AWS_ACCESS_KEY_ID or the profile"},
	"XAdminUserNotFound":    {backend.ErrPermission, "the store does not know this access key: check AWS_ACCESS_KEY_ID or the profile"},
	"SignatureDoesNotMatch": {backend.ErrPermission, remedySecret},
	"ExpiredToken":          {backend.ErrPermission, remedyToken},
	"ExpiredTokenException": {backend.ErrPermission, remedyToken},
	"TokenRefreshRequired":  {backend.ErrPermission, remedyToken},
	"InvalidToken":          {backend.ErrPermission, remedyToken},
	"InvalidTokenId":        {backend.ErrPermission, remedyToken},
	"RequestTimeTooSkewed":  {backend.ErrPermission, remedyClock},
	"RequestExpired":        {backend.ErrPermission, remedyClock},
	"KMS.DisabledException": {backend.ErrPermission, "enable the key of store.s3.kms_key"},
	"KMS.NotFoundException": {backend.ErrPermission, "correct store.s3.kms_key"},

	"KeyTooLongError":               {backend.ErrKey, ""},
	"InvalidURI":                    {backend.ErrKey, ""},
	"XMinioInvalidObjectName":       {backend.ErrKey, ""},
	"XMinioParentIsObject":          {backend.ErrKey, "an object has the name of its directory"},
	"ObjectParentIsFile":            {backend.ErrKey, "an object has the name of its directory"},
	"XMinioObjectExistsAsDirectory": {backend.ErrExist, "it is a directory"},
	"ExistingObjectIsDirectory":     {backend.ErrExist, "it is a directory"},

	"SlowDown":                    {backend.ErrTransient, "the store wants fewer requests"},
	"RequestTimeout":              {backend.ErrTransient, ""},
	"BadDigest":                   {backend.ErrTransient, "the bytes changed on their way"},
	"XAmzContentChecksumMismatch": {backend.ErrTransient, "the bytes changed on their way"},
	"InternalError":               {backend.ErrTransient, ""},
	"ServiceUnavailable":          {backend.ErrTransient, ""},
	"IncompleteBody":              {backend.ErrTransient, ""},
	"QuotaExceeded":               {backend.ErrTransient, "the bucket is full"},
	"XMinioStorageFull":           {backend.ErrTransient, "the store is full"},
}

// statuses are for answers without a known code; those to HEAD have none.
var statuses = map[int]meaning{
	http.StatusMovedPermanently:             {backend.ErrUnsupported, remedyRegion},
	http.StatusTemporaryRedirect:            {backend.ErrUnsupported, remedyRegion},
	http.StatusPermanentRedirect:            {backend.ErrUnsupported, remedyRegion},
	http.StatusUnauthorized:                 {backend.ErrPermission, remedyKeys},
	http.StatusForbidden:                    {backend.ErrPermission, remedyKeys},
	http.StatusPreconditionFailed:           {backend.ErrExist, ""},
	http.StatusRequestedRangeNotSatisfiable: {errRange, ""},
	http.StatusTooManyRequests:              {backend.ErrTransient, "the store wants fewer requests"},
	http.StatusRequestTimeout:               {backend.ErrTransient, ""},
	http.StatusNotImplemented:               {backend.ErrUnsupported, "if it is checksums that the store does not know, set store.s3.checksum to none"},
}

// callError is an error of a call: what was done, what the store said, what
// to do. It is of a kind without saying so in its text.
type callError struct {
	text string
	kind error
	err  error
}

func (e *callError) Error() string   { return e.text }
func (e *callError) Unwrap() []error { return []error{e.kind, e.err} }

// failure gives an error of the SDK its kind and says what to do.
func (s *Store) failure(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	var m meaning
	said := ""
	answer, answered := errors.AsType[*smithyhttp.ResponseError](err)
	answered = answered && answer.HTTPStatusCode() != 0
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		m = meanings[api.ErrorCode()]
		said = api.ErrorCode()
		if text := api.ErrorMessage(); text != "" {
			said += ", " + text
		}
	}
	if answered {
		if m.kind == nil {
			m = ofStatus(answer.HTTPStatusCode(), said)
		}
		said = fmt.Sprintf("%d %s", answer.HTTPStatusCode(), said)
		if region := answer.Response.Header.Get("X-Amz-Bucket-Region"); region != "" && m.remedy == remedyRegion {
			m.remedy = "the bucket is in another region, set store.s3.region to " + region
		}
	} else if m.kind == nil {
		m, said = s.ofConnection(err)
	}
	if errors.Is(m.kind, backend.ErrPermission) {
		s.chain.refused()
	}
	e := &callError{text: sentence(what, said, m.remedy), kind: m.kind, err: err}
	if answered {
		if d := retryAfter(answer.Response.Header); d > 0 {
			return &backend.WaitError{After: d, Err: e}
		}
	}
	return e
}

func sentence(what, said, remedy string) string {
	text := what + ": " + said
	if remedy != "" {
		text += ": " + remedy
	}
	return text
}

func ofStatus(status int, said string) meaning {
	if m, known := statuses[status]; known {
		return m
	}
	switch {
	case status == http.StatusNotFound && said == "":
		return meaning{kind: backend.ErrNotExist}
	case status >= http.StatusInternalServerError:
		return meaning{kind: backend.ErrTransient}
	case status == http.StatusBadRequest && (said == "" || said == "BadRequest"):
		// HEAD says no more; most of the time it is this.
		return meaning{backend.ErrPermission, "the credentials have expired, the clock is wrong, or store.s3.region is"}
	case status >= http.StatusBadRequest && status != http.StatusNotFound:
		return meaning{backend.ErrUnsupported, "the store does not take this request"}
	}
	return meaning{backend.ErrTransient, "this is no answer of S3, check store.s3.endpoint"}
}

// ofConnection is for calls that got no answer.
func (s *Store) ofConnection(err error) (meaning, string) {
	m := meaning{kind: backend.ErrTransient}
	at := s.options.Endpoint
	if at == "" {
		at = "Amazon S3"
	}
	said := "no answer from " + at + ": "
	var dns *net.DNSError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, errCredentials):
		m = meaning{backend.ErrPermission, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or give this host a role"}
		said = ""
	case errors.As(err, &dns):
		m.remedy = "the name cannot be resolved: check store.s3.endpoint and DNS; where buckets are not names of hosts set store.s3.path_style"
		said += dns.Error()
		return m, said
	case errors.As(err, &authority):
		m.remedy = "the certificate is of an authority not known here, name it in store.s3.ca_file"
	case errors.As(err, &host), errors.As(err, &invalid):
		m.remedy = "the certificate is not good for this endpoint, check store.s3.endpoint and the clock"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		m.remedy = "the endpoint does not speak TLS, write http:// in store.s3.endpoint"
	case errors.Is(err, syscall.ECONNREFUSED):
		m.remedy = "nothing listens there: check store.s3.endpoint and that the store runs"
	}
	return m, said + root(err).Error()
}

// root is the error behind the layers of the SDK and of HTTP, each of which
// repeats the request.
func root(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

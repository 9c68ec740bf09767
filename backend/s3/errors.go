package s3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

var (
	// errConflict: two writers met at a key; either may have it now.
	errConflict = fmt.Errorf("another writer is at the same key: %w", backend.ErrTransient)
	// errRange: nothing is there, behind the end of an object.
	errRange = errors.New("past the end")
)

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
var meanings = map[string]objects.Meaning{
	"NoSuchKey":    {Kind: backend.ErrNotExist},
	"NotFound":     {Kind: backend.ErrNotExist},
	"NoSuchUpload": {Kind: backend.ErrGone},
	// What was uploaded cannot become the object: it is sent again.
	"InvalidPart":      {Kind: backend.ErrGone},
	"InvalidPartOrder": {Kind: backend.ErrGone},

	"PreconditionFailed":         {Kind: backend.ErrExist},
	"ConditionalRequestConflict": {Kind: errConflict},
	"OperationAborted":           {Kind: errConflict},
	"InvalidRange":               {Kind: errRange},

	"NoSuchBucket":                       {Kind: backend.ErrUnsupported, Remedy: remedyBucket},
	"InvalidBucketName":                  {Kind: backend.ErrUnsupported, Remedy: remedyBucket},
	"PermanentRedirect":                  {Kind: backend.ErrUnsupported, Remedy: remedyRegion},
	"AuthorizationHeaderMalformed":       {Kind: backend.ErrUnsupported, Remedy: remedyRegion},
	"AuthorizationQueryParametersError":  {Kind: backend.ErrUnsupported, Remedy: remedyRegion},
	"IllegalLocationConstraintException": {Kind: backend.ErrUnsupported, Remedy: remedyRegion},
	"NotImplemented":                     {Kind: backend.ErrUnsupported, Remedy: "if it is checksums that the store does not know, set store.s3.checksum to none"},
	"EntityTooSmall":                     {Kind: backend.ErrUnsupported, Remedy: remedyParts},
	"EntityTooLarge":                     {Kind: backend.ErrUnsupported, Remedy: "make parts smaller with rolling.max_part_size"},
	"InvalidStorageClass":                {Kind: backend.ErrUnsupported, Remedy: "correct store.s3.storage_class"},
	"InvalidObjectState":                 {Kind: backend.ErrUnsupported, Remedy: "the object is archived, restore it first"},

	"AccessDenied":          {Kind: backend.ErrPermission, Remedy: remedyKeys},
	"Forbidden":             {Kind: backend.ErrPermission, Remedy: remedyKeys},
	"MethodNotAllowed":      {Kind: backend.ErrPermission, Remedy: remedyKeys},
	"AllAccessDisabled":     {Kind: backend.ErrPermission, Remedy: "the account cannot be used, ask the store's operator"},
	"AccountProblem":        {Kind: backend.ErrPermission, Remedy: "the account cannot be used, ask the store's operator"},
	"InvalidAccessKeyId":    {Kind: backend.ErrPermission, Remedy: "the store does not know this access key: check AWS_ACCESS_KEY_ID or the profile"},
	"XAdminUserNotFound":    {Kind: backend.ErrPermission, Remedy: "the store does not know this access key: check AWS_ACCESS_KEY_ID or the profile"},
	"SignatureDoesNotMatch": {Kind: backend.ErrPermission, Remedy: remedySecret},
	"ExpiredToken":          {Kind: backend.ErrPermission, Remedy: remedyToken},
	"ExpiredTokenException": {Kind: backend.ErrPermission, Remedy: remedyToken},
	"TokenRefreshRequired":  {Kind: backend.ErrPermission, Remedy: remedyToken},
	"InvalidToken":          {Kind: backend.ErrPermission, Remedy: remedyToken},
	"InvalidTokenId":        {Kind: backend.ErrPermission, Remedy: remedyToken},
	"RequestTimeTooSkewed":  {Kind: backend.ErrPermission, Remedy: remedyClock},
	"RequestExpired":        {Kind: backend.ErrPermission, Remedy: remedyClock},
	"KMS.DisabledException": {Kind: backend.ErrPermission, Remedy: "enable the key of store.s3.kms_key"},
	"KMS.NotFoundException": {Kind: backend.ErrPermission, Remedy: "correct store.s3.kms_key"},

	"KeyTooLongError":               {Kind: backend.ErrKey},
	"InvalidURI":                    {Kind: backend.ErrKey},
	"XMinioInvalidObjectName":       {Kind: backend.ErrKey},
	"XMinioParentIsObject":          {Kind: backend.ErrPermission, Remedy: "an object has the name of its directory, move it away"},
	"ObjectParentIsFile":            {Kind: backend.ErrPermission, Remedy: "an object has the name of its directory, move it away"},
	"XMinioObjectExistsAsDirectory": {Kind: backend.ErrExist, Remedy: "it is a directory"},
	"ExistingObjectIsDirectory":     {Kind: backend.ErrExist, Remedy: "it is a directory"},

	"SlowDown":                    {Kind: backend.ErrTransient, Remedy: "the store wants fewer requests"},
	"RequestTimeout":              {Kind: backend.ErrTransient},
	"BadDigest":                   {Kind: backend.ErrTransient, Remedy: "the bytes changed on their way"},
	"XAmzContentChecksumMismatch": {Kind: backend.ErrTransient, Remedy: "the bytes changed on their way"},
	"InternalError":               {Kind: backend.ErrTransient},
	"ServiceUnavailable":          {Kind: backend.ErrTransient},
	"IncompleteBody":              {Kind: backend.ErrTransient},
	"QuotaExceeded":               {Kind: backend.ErrTransient, Remedy: "the bucket is full"},
	"XMinioStorageFull":           {Kind: backend.ErrTransient, Remedy: "the store is full"},
}

// statuses are for answers without a known code; those to HEAD have none.
var statuses = map[int]objects.Meaning{
	http.StatusMovedPermanently:             {Kind: backend.ErrUnsupported, Remedy: remedyRegion},
	http.StatusTemporaryRedirect:            {Kind: backend.ErrUnsupported, Remedy: remedyRegion},
	http.StatusPermanentRedirect:            {Kind: backend.ErrUnsupported, Remedy: remedyRegion},
	http.StatusUnauthorized:                 {Kind: backend.ErrPermission, Remedy: remedyKeys},
	http.StatusForbidden:                    {Kind: backend.ErrPermission, Remedy: remedyKeys},
	http.StatusPreconditionFailed:           {Kind: backend.ErrExist},
	http.StatusRequestedRangeNotSatisfiable: {Kind: errRange},
	http.StatusTooManyRequests:              {Kind: backend.ErrTransient, Remedy: "the store wants fewer requests"},
	http.StatusRequestTimeout:               {Kind: backend.ErrTransient},
	http.StatusNotImplemented:               {Kind: backend.ErrUnsupported, Remedy: "if it is checksums that the store does not know, set store.s3.checksum to none"},
}

// failure gives an error of the SDK its kind and says what to do.
func (s *Store) failure(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, s.gate.Ended(ctx, s.endpoint()))
	}
	var m objects.Meaning
	said := ""
	answer, answered := errors.AsType[*smithyhttp.ResponseError](err)
	// An answer that the search for credentials ended with is not the store's.
	answered = answered && answer.HTTPStatusCode() != 0 && !errors.Is(err, errCredentials)
	if api, ok := errors.AsType[smithy.APIError](err); ok && !errors.Is(err, errCredentials) {
		m = meanings[api.ErrorCode()]
		said = api.ErrorCode()
		if text := api.ErrorMessage(); text != "" {
			said += ", " + text
		}
	}
	if answered {
		if m.Kind == nil {
			m = ofStatus(answer.HTTPStatusCode(), said)
		}
		said = fmt.Sprintf("%d %s", answer.HTTPStatusCode(), said)
		if errors.Is(m.Kind, backend.ErrTransient) {
			said = s.endpoint() + " answered " + said
		}
		if region := answer.Response.Header.Get("X-Amz-Bucket-Region"); region != "" && m.Remedy == remedyRegion {
			m.Remedy = "the bucket is in another region, set store.s3.region to " + region
		}
	} else if m.Kind == nil {
		m, said = s.ofConnection(err)
	}
	if errors.Is(m.Kind, backend.ErrPermission) {
		s.chain.refused()
	}
	return objects.NewCallError(what, said, m, err)
}

func ofStatus(status int, said string) objects.Meaning {
	if m, known := statuses[status]; known {
		return m
	}
	switch {
	case status == http.StatusNotFound && said == "":
		return objects.Meaning{Kind: backend.ErrNotExist}
	case status >= http.StatusInternalServerError:
		return objects.Meaning{Kind: backend.ErrTransient}
	case status == http.StatusBadRequest && (said == "" || said == "BadRequest"):
		// HEAD says no more; most of the time it is this.
		return objects.Meaning{Kind: backend.ErrPermission, Remedy: "the credentials have expired, the clock is wrong, or store.s3.region is"}
	case status >= http.StatusBadRequest && status != http.StatusNotFound:
		return objects.Meaning{Kind: backend.ErrUnsupported, Remedy: "the store does not take this request"}
	}
	return objects.Meaning{Kind: backend.ErrTransient, Remedy: "this is no answer of S3, check store.s3.endpoint"}
}

// ofConnection is for calls that got no answer.
func (s *Store) ofConnection(err error) (m objects.Meaning, said string) {
	if errors.Is(err, errCredentials) {
		m = objects.Meaning{Kind: backend.ErrPermission, Remedy: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or give this host a role"}
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return m, err.Error()
	}
	m.Kind = backend.ErrTransient
	m.Remedy, said = objects.NoAnswer(err, "store.s3")
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		m.Remedy += "; where buckets are not names of hosts set store.s3.path_style"
	}
	return m, "no answer from " + s.endpoint() + ": " + said
}

func (s *Store) endpoint() string {
	if s.options.Endpoint == "" {
		return "Amazon S3"
	}
	return s.options.Endpoint
}

package oss

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	aliyun "github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

// errRange: nothing is there, behind the end of an object.
var errRange = errors.New("past the end")

const (
	remedyKeys   = "give this key oss:GetObject, oss:PutObject, oss:ListObjects, oss:ListParts, oss:ListMultipartUploads, oss:AbortMultipartUpload and oss:DeleteObject on the bucket and prefix"
	remedyToken  = "renew the credentials where they come from (environment, profile or role); they are read again at once"
	remedyClock  = "the clock of this host differs from the store's by too much, set it (timedatectl, chrony)"
	remedySecret = "the secret does not belong to the key, or a proxy changes requests: check OSS_ACCESS_KEY_SECRET or the profile"
	remedyBucket = "there is no such bucket at this endpoint: make it, or correct the target and store.oss.endpoint"
	remedyParts  = "OSS wants parts of at least 100KiB, raise store.oss.part_size"
	remedyRegion = "set store.oss.region and store.oss.endpoint to those of the bucket"
	remedyKey    = "the store does not know this access key: check OSS_ACCESS_KEY_ID or the profile"
	remedyBill   = "the account cannot be used, see the console of Alibaba Cloud (overdue payment, service not activated)"
	remedySlow   = "the store wants fewer requests"
)

// meanings are the codes of OSS.
var meanings = map[string]objects.Meaning{
	"NoSuchKey":    {Kind: backend.ErrNotExist},
	"NoSuchUpload": {Kind: backend.ErrGone},
	// What was uploaded cannot become the object: it is sent again.
	"InvalidPart":      {Kind: backend.ErrGone},
	"InvalidPartOrder": {Kind: backend.ErrGone},

	"FileAlreadyExists":     {Kind: backend.ErrExist},
	"ObjectAlreadyExists":   {Kind: backend.ErrExist},
	"FileImmutable":         {Kind: backend.ErrExist, Remedy: "a retention policy of the bucket protects what is there"},
	"PreconditionFailed":    {Kind: backend.ErrExist},
	"InvalidRange":          {Kind: errRange},
	"ConcurrentUpdateError": {Kind: backend.ErrTransient},

	"NoSuchBucket":                    {Kind: backend.ErrUnsupported, Remedy: remedyBucket},
	"InvalidBucketName":               {Kind: backend.ErrUnsupported, Remedy: remedyBucket},
	"SecondLevelDomainForbidden":      {Kind: backend.ErrUnsupported, Remedy: "the endpoint has to be a host name, not an address; correct store.oss.endpoint"},
	"InvalidDomain":                   {Kind: backend.ErrUnsupported, Remedy: "the domain is not bound to this bucket, see store.oss.cname"},
	"NoSuchCname":                     {Kind: backend.ErrUnsupported, Remedy: "the domain is not bound to this bucket, see store.oss.cname"},
	"BucketTransferAccDisabled":       {Kind: backend.ErrUnsupported, Remedy: "switch on transfer acceleration for the bucket, or unset store.oss.accelerate"},
	"NotImplemented":                  {Kind: backend.ErrUnsupported},
	"EntityTooSmall":                  {Kind: backend.ErrUnsupported, Remedy: remedyParts},
	"EntityTooLarge":                  {Kind: backend.ErrUnsupported, Remedy: "make parts smaller with rolling.max_part_size"},
	"InvalidStorageClass":             {Kind: backend.ErrUnsupported, Remedy: "correct store.oss.storage_class"},
	"InvalidObjectState":              {Kind: backend.ErrUnsupported, Remedy: "the object is archived, restore it first"},
	"InvalidEncryptionAlgorithmError": {Kind: backend.ErrUnsupported, Remedy: "correct store.oss.sse"},
	"InvalidTargetType":               {Kind: backend.ErrUnsupported},

	"AccessDenied":               {Kind: backend.ErrPermission, Remedy: remedyKeys},
	"AccessForbidden":            {Kind: backend.ErrPermission, Remedy: remedyKeys},
	"UserDisable":                {Kind: backend.ErrPermission, Remedy: remedyBill},
	"UnauthorizedAccount":        {Kind: backend.ErrPermission, Remedy: remedyBill},
	"InvalidAccessKeyId":         {Kind: backend.ErrPermission, Remedy: remedyKey},
	"InvalidAccessKeyIdInactive": {Kind: backend.ErrPermission, Remedy: remedyKey},
	"SignatureDoesNotMatch":      {Kind: backend.ErrPermission, Remedy: remedySecret},
	"SecurityTokenExpired":       {Kind: backend.ErrPermission, Remedy: remedyToken},
	"InvalidSecurityToken":       {Kind: backend.ErrPermission, Remedy: remedyToken},
	"SecurityTokenNotSupported":  {Kind: backend.ErrPermission, Remedy: remedyToken},
	"RequestTimeTooSkewed":       {Kind: backend.ErrPermission, Remedy: remedyClock},
	"RequestExpired":             {Kind: backend.ErrPermission, Remedy: remedyClock},
	"KmsServiceNotEnabled":       {Kind: backend.ErrPermission, Remedy: "activate KMS, or unset store.oss.sse"},
	"KMS.DisabledException":      {Kind: backend.ErrPermission, Remedy: "enable the key of store.oss.kms_key"},

	"InvalidObjectName": {Kind: backend.ErrKey},

	"InvalidDigest":                    {Kind: backend.ErrTransient, Remedy: "the bytes changed on their way"},
	"RequestTimeout":                   {Kind: backend.ErrTransient},
	"IncompleteBody":                   {Kind: backend.ErrTransient},
	"InternalError":                    {Kind: backend.ErrTransient},
	"ServiceUnavailable":               {Kind: backend.ErrTransient},
	"SlowDown":                         {Kind: backend.ErrTransient, Remedy: remedySlow},
	"QpsLimitExceeded":                 {Kind: backend.ErrTransient, Remedy: remedySlow},
	"RequestRateLimitExceeded":         {Kind: backend.ErrTransient, Remedy: remedySlow},
	"TotalQpsLimitExceeded":            {Kind: backend.ErrTransient, Remedy: remedySlow},
	"UploadTrafficRateLimitExceeded":   {Kind: backend.ErrTransient, Remedy: remedySlow},
	"DownloadTrafficRateLimitExceeded": {Kind: backend.ErrTransient, Remedy: remedySlow},
	"MetaOperationQpsLimitExceeded":    {Kind: backend.ErrTransient, Remedy: remedySlow},
	"PartitionQpsLimitExceeded":        {Kind: backend.ErrTransient, Remedy: remedySlow},
	"ActiveRequestLimitExceeded":       {Kind: backend.ErrTransient, Remedy: remedySlow},
	"CallbackFailed":                   {Kind: backend.ErrTransient},
}

// statuses are for answers without a known code.
var statuses = map[int]objects.Meaning{
	http.StatusUnauthorized:                 {Kind: backend.ErrPermission, Remedy: remedyKeys},
	http.StatusForbidden:                    {Kind: backend.ErrPermission, Remedy: remedyKeys},
	http.StatusConflict:                     {Kind: backend.ErrTransient},
	http.StatusRequestedRangeNotSatisfiable: {Kind: errRange},
	http.StatusTooManyRequests:              {Kind: backend.ErrTransient, Remedy: remedySlow},
	http.StatusRequestTimeout:               {Kind: backend.ErrTransient},
}

// failure gives an error of the SDK its kind and says what to do.
func (s *Store) failure(ctx context.Context, what string, err error, header http.Header) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, s.gate.Ended(ctx, s.options.Endpoint))
	}
	m, said := s.meaning(err, header)
	if errors.Is(m.Kind, backend.ErrPermission) {
		s.chain.refused()
	}
	return objects.NewCallError(what, said, m, err)
}

func (s *Store) meaning(err error, header http.Header) (m objects.Meaning, said string) {
	if answer, ok := errors.AsType[aliyun.ServiceError](err); ok {
		m, said = ofAnswer(answer)
		if errors.Is(m.Kind, backend.ErrTransient) {
			said = s.options.Endpoint + " answered " + said
		}
		return m, said
	}
	if redirect, ok := errors.AsType[*redirectError](err); ok {
		return objects.Meaning{Kind: backend.ErrUnsupported, Remedy: remedyRegion}, redirect.Error()
	}
	if errors.Is(err, errCredentials) {
		return objects.Meaning{
			Kind:   backend.ErrPermission,
			Remedy: "set OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET, a profile, RRSA, or give this ECS instance a role",
		}, err.Error()
	}
	m.Kind = backend.ErrTransient
	if header != nil { // what came is no answer of OSS, or half of one
		m.Remedy = "the answer is not one of OSS, check store.oss.endpoint if it stays"
		return m, err.Error()
	}
	m.Remedy, said = objects.NoAnswer(err, "store.oss")
	return m, "no answer from " + s.options.Endpoint + ": " + said
}

// ofAnswer reads an answer that says no.
func ofAnswer(answer aliyun.ServiceError) (objects.Meaning, string) {
	said := answer.Code
	if answer.Message != "" {
		said += ", " + answer.Message
	}
	m, known := meanings[answer.Code]
	if !known {
		m = ofStatus(answer.StatusCode, answer.Code)
	}
	switch {
	case answer.Endpoint != "":
		m = objects.Meaning{Kind: backend.ErrUnsupported, Remedy: "the bucket is at another endpoint, set store.oss.endpoint to " + answer.Endpoint}
	case strings.Contains(answer.Message, "signing region"):
		m = objects.Meaning{Kind: backend.ErrUnsupported, Remedy: "set store.oss.region to the region of the bucket"}
	}
	said = strings.TrimSpace(fmt.Sprintf("%d %s", answer.StatusCode, said))
	if answer.RequestID != "" {
		said += " (request " + answer.RequestID + ecOf(answer) + ")"
	}
	return m, said
}

// ecOf names what the vendor's help explains the error under.
func ecOf(answer aliyun.ServiceError) string {
	if answer.Ec == "" {
		return ""
	}
	return ", EC " + answer.Ec
}

func ofStatus(status int, code string) objects.Meaning {
	if m, known := statuses[status]; known {
		return m
	}
	switch {
	case status == http.StatusNotFound && code == "":
		return objects.Meaning{Kind: backend.ErrNotExist}
	case status >= http.StatusInternalServerError:
		return objects.Meaning{Kind: backend.ErrTransient}
	case status >= http.StatusBadRequest && status != http.StatusNotFound:
		return objects.Meaning{Kind: backend.ErrUnsupported, Remedy: "the store does not take this request"}
	}
	return objects.Meaning{Kind: backend.ErrTransient, Remedy: "this is no answer of OSS, check store.oss.endpoint"}
}

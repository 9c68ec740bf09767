package ossfake

import (
	"crypto/hmac"
	"crypto/sha1" // the signature of version 1 is one
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	algorithm = "OSS4-HMAC-SHA256"
	isoTime   = "20060102T150405Z"
	// skew is how far the clocks may be apart.
	skew = 15 * time.Minute
)

func denied(code, message, ec string) *failure {
	return &failure{http.StatusForbidden, code, message, ec}
}

// authenticate checks the signature of a call and what its key may do.
func (s *Server) authenticate(c *call, bucket, key string) *failure {
	text := c.r.Header.Get("Authorization")
	v4, isV4 := strings.CutPrefix(text, algorithm+" ")
	v1, isV1 := strings.CutPrefix(text, "OSS ")
	switch {
	case isV4 && s.only != V1:
		return s.authenticateV4(c, v4, bucket, key)
	case isV1 && s.only != V4:
		id, signature, _ := strings.Cut(v1, ":")
		date, err := http.ParseTime(dateOf(c.r.Header))
		return s.decide(c, id, signature, date, err, func(secret string) string {
			return signV1(secret, c.r.Method, bucket, key, c.r.URL.Query(), c.r.Header)
		})
	case isV4, isV1:
		return denied("AccessDenied", "This signature version is not allowed here.", "0002-00000901")
	}
	return denied("AccessDenied", "Anonymous access is forbidden for this operation.", "0003-00000201")
}

func (s *Server) authenticateV4(c *call, text, bucket, key string) *failure {
	fields := map[string]string{}
	for field := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		fields[name] = value
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[3] != "oss" || scope[4] != "aliyun_v4_request" {
		return &failure{http.StatusBadRequest, "InvalidArgument", "The Credential of the Authorization header is invalid.", "0002-00000205"}
	}
	if scope[2] != s.region {
		return &failure{http.StatusBadRequest, "InvalidArgument", "Invalid signing region in Authorization header. Expected: " + s.region + ".", "0002-00000216"}
	}
	if payload := c.r.Header.Get("X-Oss-Content-Sha256"); payload != "UNSIGNED-PAYLOAD" {
		return &failure{http.StatusBadRequest, "InvalidArgument", "x-oss-content-sha256 must be UNSIGNED-PAYLOAD.", "0002-00000219"}
	}
	date, err := time.Parse(isoTime, c.r.Header.Get("X-Oss-Date"))
	if err == nil && date.Format("20060102") != scope[1] {
		return &failure{http.StatusBadRequest, "InvalidArgument", "Invalid signing date in Authorization header.", "0002-00000214"}
	}
	return s.decide(c, scope[0], fields["Signature"], date, err, func(secret string) string {
		return signV4(secret, scope[2], date, c.r.Method, bucket, key, c.r.URL.Query(), c.r.Header, fields["AdditionalHeaders"])
	})
}

func (s *Server) decide(c *call, id, signature string, date time.Time, dateErr error, sign func(secret string) string) *failure {
	k, known := s.keys[id]
	token := c.r.Header.Get("X-Oss-Security-Token")
	switch {
	case dateErr != nil:
		return denied("AccessDenied", "OSS authentication requires a valid Date.", "0002-00000203")
	case date.Sub(c.now).Abs() > skew:
		return denied("RequestTimeTooSkewed", "The difference between the request time and the current time is too large.", "0002-00000504")
	case !known:
		return denied("InvalidAccessKeyId", "The OSS Access Key Id you provided does not exist in our records.", "0002-00000902")
	case token != k.Token:
		return denied("InvalidAccessKeyId", "The security token you provided is invalid.", "0002-00000903")
	case k.Expired:
		return denied("SecurityTokenExpired", "The security token you provided has expired.", "0002-00000904")
	case !hmac.Equal([]byte(signature), []byte(sign(k.Secret))):
		return denied("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.", "0002-00000040")
	case k.ReadOnly && c.r.Method != http.MethodGet && c.r.Method != http.MethodHead:
		return denied("AccessDenied", "You have no right to access this object because of bucket acl.", "0003-00000001")
	}
	return nil
}

// dateOf is the date of a request of version 1.
func dateOf(h http.Header) string {
	if date := h.Get("X-Oss-Date"); date != "" {
		return date
	}
	return h.Get("Date")
}

// subresources are the parameters that version 1 signs.
var subresources = []string{
	"acl", "append", "bucketInfo", "continuation-token", "cors", "delete", "encryption", "lifecycle", "location", "objectMeta",
	"partNumber", "policy", "position", "requestPayment", "resourceGroup", "response-cache-control", "response-content-disposition",
	"response-content-encoding", "response-content-language", "response-content-type", "response-expires", "restore",
	"security-token", "sequential", "stat", "symlink", "tagging", "transferAcceleration", "uploadId", "uploads", "versionId",
	"versioning", "versions", "x-oss-process", "x-oss-request-payer", "x-oss-traffic-limit",
}

// signV1 signs by HMAC-SHA1: verb, MD5, type, date, the x-oss headers in
// order, the resource as it is.
func signV1(secret, method, bucket, key string, q url.Values, h http.Header) string {
	resource := "/" + bucket + "/" + key
	var signed []string
	for _, name := range subresources {
		if q.Has(name) {
			signed = append(signed, name+equals(q.Get(name)))
		}
	}
	slices.Sort(signed)
	if len(signed) > 0 {
		resource += "?" + strings.Join(signed, "&")
	}
	text := strings.Join([]string{method, h.Get("Content-Md5"), h.Get("Content-Type"), dateOf(h), ""}, "\n") +
		canonical(h, func(name string) bool { return strings.HasPrefix(name, "x-oss-") }) + resource
	return base64.StdEncoding.EncodeToString(sum(sha1.New, []byte(secret), text))
}

func equals(value string) string {
	if value == "" {
		return ""
	}
	return "=" + value
}

// signV4 signs by a key derived from day, region and product.
func signV4(secret, region string, date time.Time, method, bucket, key string, q url.Values, h http.Header, additional string) string {
	resource := "/" + bucket + "/" + strings.ReplaceAll(escape(key), "%2F", "/")
	params := make([]string, 0, len(q))
	for name := range q {
		params = append(params, escape(name))
	}
	slices.Sort(params)
	for i, name := range params {
		plain, err := url.QueryUnescape(name)
		if err != nil {
			return ""
		}
		params[i] += equals(escape(q.Get(plain)))
	}
	more := strings.Split(additional, ";")
	headers := canonical(h, func(name string) bool {
		return strings.HasPrefix(name, "x-oss-") || name == "content-type" || name == "content-md5" || additional != "" && slices.Contains(more, name)
	})
	request := strings.Join([]string{method, resource, strings.Join(params, "&"), headers, additional, h.Get("X-Oss-Content-Sha256")}, "\n")
	hashed := sha256.Sum256([]byte(request))
	day := date.Format("20060102")
	text := strings.Join([]string{algorithm, date.Format(isoTime), day + "/" + region + "/oss/aliyun_v4_request", hex.EncodeToString(hashed[:])}, "\n")
	k := []byte("aliyun_v4" + secret)
	for _, step := range []string{day, region, "oss", "aliyun_v4_request", text} {
		k = sum(sha256.New, k, step)
	}
	return hex.EncodeToString(k)
}

// canonical writes the headers that are signed, a line each, in the order of
// their names.
func canonical(h http.Header, signed func(name string) bool) string {
	lines := map[string]string{}
	for name, values := range h {
		if name = strings.ToLower(name); signed(name) {
			lines[name] = name + ":" + strings.TrimSpace(strings.Join(values, ",")) + "\n"
		}
	}
	var all strings.Builder
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		all.WriteString(lines[name])
	}
	return all.String()
}

// escape is the coding of URLs in which only letters, digits and -_.~ stand
// for themselves.
func escape(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }

func sum(algorithm func() hash.Hash, key []byte, text string) []byte {
	m := hmac.New(algorithm, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

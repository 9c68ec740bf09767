package ossfake

import (
	"encoding/base64"
	"encoding/xml"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The entries of a page that does not say how many it wants, and the most it
// may want.
const (
	defaultKeys = 100
	maxKeys     = 1000
)

const stampFormat = "2006-01-02T15:04:05.000Z"

type listing struct {
	XMLName                  xml.Name `xml:"ListBucketResult"`
	Name, Prefix, StartAfter string
	Delimiter, EncodingType  string
	MaxKeys                  int
	KeyCount                 int
	IsTruncated              bool
	NextContinuationToken    string `xml:",omitempty"`
	Contents                 []content
	CommonPrefixes           []commonPrefix
}

type content struct {
	Key, LastModified, ETag, Type string
	Size                          int
	StorageClass                  string
}

type commonPrefix struct{ Prefix string }

func (s *Server) limit(q url.Values, name string, usual int) (int, *failure) {
	if !q.Has(name) {
		return min(usual, s.pages), nil
	}
	n, err := strconv.Atoi(q.Get(name))
	if err != nil || n < 1 || n > maxKeys {
		return 0, &failure{http.StatusBadRequest, "InvalidArgument", "Argument " + name + " must be an integer between 1 and 1000.", "0017-00000102"}
	}
	return min(n, s.pages), nil
}

func coded(q url.Values) func(string) string {
	if q.Get("encoding-type") == "url" {
		return url.QueryEscape
	}
	return func(text string) string { return text }
}

func (s *Server) list(c *call, b *bucket) *failure {
	q := c.r.URL.Query()
	limit, f := s.limit(q, "max-keys", defaultKeys)
	if f != nil {
		return f
	}
	code := coded(q)
	prefix, delimiter, after := q.Get("prefix"), q.Get("delimiter"), q.Get("start-after")
	if token := q.Get("continuation-token"); token != "" {
		key, err := base64.StdEncoding.DecodeString(token)
		if err != nil {
			return &failure{http.StatusBadRequest, "InvalidArgument", "The continuation token provided is incorrect.", "0017-00000118"}
		}
		after = string(key)
	}
	out := listing{
		Name: b.name, Prefix: code(prefix), StartAfter: code(q.Get("start-after")), Delimiter: code(delimiter), EncodingType: q.Get("encoding-type"), MaxKeys: limit,
	}
	last := ""
	keys := b.keys()
	first, _ := slices.BinarySearch(keys, max(prefix, after))
	for _, key := range keys[first:] {
		if !strings.HasPrefix(key, prefix) {
			break
		}
		entry, isDir, wanted := entryOf(key, prefix, delimiter, after)
		if !wanted || entry == last {
			continue
		}
		if out.KeyCount == limit {
			out.IsTruncated, out.NextContinuationToken = true, code(base64.StdEncoding.EncodeToString([]byte(last)))
			break
		}
		last = entry
		out.KeyCount++
		if isDir {
			out.CommonPrefixes = append(out.CommonPrefixes, commonPrefix{code(entry)})
			continue
		}
		v, _ := b.current(key)
		out.Contents = append(out.Contents, content{code(key), v.modified.Format(stampFormat), v.etag, v.kind, len(v.body), "Standard"})
	}
	answer(c, out)
	return nil
}

// entryOf is what a key is in a listing: itself, or what it has in common with
// its neighbours up to the delimiter.
func entryOf(key, prefix, delimiter, after string) (entry string, isDir, wanted bool) {
	rest, below := strings.CutPrefix(key, prefix)
	if !below || key <= after {
		return "", false, false
	}
	if delimiter == "" {
		return key, false, true
	}
	if told := strings.HasSuffix(after, delimiter) && after != prefix; told && strings.HasPrefix(key, after) {
		return "", false, false
	}
	if i := strings.Index(rest, delimiter); i >= 0 {
		return prefix + rest[:i+len(delimiter)], true, true
	}
	return key, false, true
}

type uploads struct {
	XMLName                      xml.Name `xml:"ListMultipartUploadsResult"`
	Bucket, EncodingType, Prefix string
	NextKeyMarker                string
	NextUploadIDMarker           string `xml:"NextUploadIdMarker"`
	IsTruncated                  bool
	Upload                       []uploadEntry
}

type uploadEntry struct {
	Key       string
	UploadID  string `xml:"UploadId"`
	Initiated string
}

func (s *Server) listUploads(c *call, b *bucket) *failure {
	q := c.r.URL.Query()
	limit, f := s.limit(q, "max-uploads", maxKeys)
	if f != nil {
		return f
	}
	code := coded(q)
	out := uploads{Bucket: b.name, EncodingType: q.Get("encoding-type"), Prefix: code(q.Get("prefix"))}
	all := slices.SortedFunc(maps.Values(b.uploads), func(x, y *upload) int {
		if n := strings.Compare(x.key, y.key); n != 0 {
			return n
		}
		return strings.Compare(x.id, y.id)
	})
	marker, idMarker := q.Get("key-marker"), q.Get("upload-id-marker")
	for _, u := range all {
		before := u.key < marker || u.key == marker && (idMarker == "" || u.id <= idMarker)
		if !strings.HasPrefix(u.key, q.Get("prefix")) || marker != "" && before {
			continue
		}
		if len(out.Upload) == limit {
			out.IsTruncated = true
			break
		}
		out.Upload = append(out.Upload, uploadEntry{code(u.key), u.id, u.started.Format(time.RFC3339)})
		out.NextKeyMarker, out.NextUploadIDMarker = code(u.key), u.id
	}
	answer(c, out)
	return nil
}

package s3_test

import (
	"crypto/md5" // the ETag is one
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is the least of an S3 server: it ignores conditions and checksums, as
// some do, asks for no signature, and takes parts of any size.
type fake struct {
	URL string

	mu      sync.Mutex
	objects map[string]fakeObject
	uploads map[string]*fakeUpload
	pages   int // entries in a page of a listing
	partMax int // the highest part number seen
	refuse  func(w http.ResponseWriter, r *http.Request) bool
}

type fakeObject struct {
	body []byte
	meta http.Header
}

type fakeUpload struct {
	key   string
	meta  http.Header
	parts map[int][]byte
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{objects: map[string]fakeObject{}, uploads: map[string]*fakeUpload{}, pages: 1000}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.URL = server.URL
	return f
}

func fakeError(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `<Error><Code>%s</Code><Message>as told</Message></Error>`, code)
}

// ServeHTTP implements http.Handler.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.refuse != nil && f.refuse(w, r) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client hung up
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	q := r.URL.Query()
	switch {
	case q.Has("list-type"):
		f.list(w, q)
	case q.Has("uploads") || q.Has("uploadId"):
		f.multipart(w, r, key, body)
	case r.Method == http.MethodPut:
		f.objects[key] = fakeObject{body, metaOf(r.Header)}
		w.Header().Set("Etag", etag(body))
	case r.Method == http.MethodDelete:
		delete(f.objects, key)
		w.WriteHeader(http.StatusNoContent)
	default:
		f.get(w, r, key)
	}
}

func etag(body []byte) string { return fmt.Sprintf(`"%x"`, md5.Sum(body)) }

func metaOf(h http.Header) http.Header {
	m := http.Header{}
	for k, v := range h {
		if strings.HasPrefix(k, "X-Amz-Meta-") {
			m[k] = v
		}
	}
	return m
}

func (f *fake) get(w http.ResponseWriter, r *http.Request, key string) {
	o, ok := f.objects[key]
	if !ok {
		fakeError(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	maps.Copy(w.Header(), o.meta)
	w.Header().Set("Etag", etag(o.body))
	w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
	body, status := o.body, http.StatusOK
	if text, ranged := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ranged {
		first, last, _ := strings.Cut(text, "-")
		from, _ := strconv.Atoi(first)
		to, err := strconv.Atoi(last)
		if err != nil || to >= len(body) {
			to = len(body) - 1
		}
		if from >= len(body) {
			fakeError(w, http.StatusRequestedRangeNotSatisfiable, "InvalidRange")
			return
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(body)))
		body, status = body[from:to+1], http.StatusPartialContent
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // the client sees what is missing
	}
}

func (f *fake) multipart(w http.ResponseWriter, r *http.Request, key string, body []byte) {
	q := r.URL.Query()
	id := q.Get("uploadId")
	u := f.uploads[id]
	switch {
	case r.Method == http.MethodPost && id == "":
		id = strconv.Itoa(len(f.uploads) + 1)
		f.uploads[id] = &fakeUpload{key, metaOf(r.Header), map[int][]byte{}}
		fmt.Fprintf(w, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", id)
	case r.Method == http.MethodGet:
		fmt.Fprint(w, "<ListMultipartUploadsResult><Bucket>bucket</Bucket>")
		for id, u := range f.uploads {
			if u != nil && strings.HasPrefix(u.key, q.Get("prefix")) {
				fmt.Fprintf(w, "<Upload><Key>%s</Key><UploadId>%s</UploadId></Upload>", u.key, id)
			}
		}
		fmt.Fprint(w, "</ListMultipartUploadsResult>")
	case u == nil:
		fakeError(w, http.StatusNotFound, "NoSuchUpload")
	case r.Method == http.MethodPut:
		n, _ := strconv.Atoi(q.Get("partNumber"))
		f.partMax = max(f.partMax, n)
		u.parts[n] = body
		w.Header().Set("Etag", etag(body))
	case r.Method == http.MethodDelete:
		f.uploads[id] = nil
		w.WriteHeader(http.StatusNoContent)
	default:
		f.uploads[id] = nil
		var all []byte
		for _, n := range slices.Sorted(maps.Keys(u.parts)) {
			all = append(all, u.parts[n]...)
		}
		f.objects[u.key] = fakeObject{all, u.meta}
		fmt.Fprintf(w, "<CompleteMultipartUploadResult><ETag>%s</ETag></CompleteMultipartUploadResult>", etag(all))
	}
}

type fakeListing struct {
	XMLName  xml.Name `xml:"ListBucketResult"`
	Name     string
	Contents []struct {
		Key          string
		Size         int
		LastModified string
	}
	CommonPrefixes        []struct{ Prefix string }
	EncodingType          string
	IsTruncated           bool
	NextContinuationToken string `xml:",omitempty"`
}

func (f *fake) list(w http.ResponseWriter, q url.Values) {
	limit := f.pages
	if n, err := strconv.Atoi(q.Get("max-keys")); err == nil {
		limit = n
	}
	prefix, after := q.Get("prefix"), max(q.Get("start-after"), q.Get("continuation-token"))
	out := fakeListing{Name: "bucket", EncodingType: "url"}
	last := ""
	for _, key := range slices.Sorted(maps.Keys(f.objects)) {
		rest, below := strings.CutPrefix(key, prefix)
		if !below || key <= after || strings.HasSuffix(after, "/") && strings.HasPrefix(key, after) && after != prefix {
			continue
		}
		name, _, isDir := strings.Cut(rest, "/")
		entry := key
		if isDir = isDir && q.Get("delimiter") == "/"; isDir {
			entry = prefix + name + "/"
		}
		if entry == last {
			continue
		}
		if len(out.Contents)+len(out.CommonPrefixes) == limit {
			out.IsTruncated, out.NextContinuationToken = true, last
			break
		}
		last = entry
		if isDir {
			out.CommonPrefixes = append(out.CommonPrefixes, struct{ Prefix string }{url.QueryEscape(entry)})
		} else {
			out.Contents = append(out.Contents, struct {
				Key          string
				Size         int
				LastModified string
			}{url.QueryEscape(entry), len(f.objects[key].body), time.Now().UTC().Format(time.RFC3339)})
		}
	}
	_ = xml.NewEncoder(w).Encode(out) // the client sees what is missing
}

// failSome fails some parts, each so often.
func failSome(times int, parts ...string) func(http.ResponseWriter, *http.Request) bool {
	var mu sync.Mutex
	left := map[string]int{}
	for _, n := range parts {
		left[n] = times
	}
	return func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		n := r.URL.Query().Get("partNumber")
		if left[n] == 0 {
			return false
		}
		left[n]--
		fakeError(w, http.StatusInternalServerError, "InternalError")
		return true
	}
}

// count counts requests.
func count(n *int) func(http.ResponseWriter, *http.Request) bool {
	var mu sync.Mutex
	return func(http.ResponseWriter, *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		*n++
		return false
	}
}

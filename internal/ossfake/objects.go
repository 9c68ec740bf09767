package ossfake

import (
	"fmt"
	"hash/crc64"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

var ecma = crc64.MakeTable(crc64.ECMA)

// version is one state of a key; the only one without versioning.
type version struct {
	id       string // "" of a bucket that never had versions
	marker   bool   // it says that there is no object
	body     []byte
	crc      uint64
	etag     string
	kind     string // Normal or Multipart
	header   http.Header
	modified time.Time
}

// current is what a reader finds.
func (b *bucket) current(key string) (version, bool) {
	all := b.objects[key]
	if len(all) == 0 || all[len(all)-1].marker {
		return version{}, false
	}
	return all[len(all)-1], true
}

// add makes a version the current one, as the bucket's state has it.
func (s *Server) add(b *bucket, key string, v version) version {
	switch b.versioning {
	case Enabled:
		s.ids++
		v.id = fmt.Sprintf("CAEQ%08X", s.ids)
	case Suspended:
		v.id = "null"
	case Unversioned:
		b.objects[key] = nil
	}
	b.objects[key] = append(slices.DeleteFunc(b.objects[key], func(o version) bool { return v.id == "null" && (o.id == "null" || o.id == "") }), v)
	b.sorted = nil
	return v
}

// forbidden says whether the call must not overwrite what is there. Versioned
// buckets do not care.
func (b *bucket) forbidden(c *call, key string) *failure {
	if _, taken := b.current(key); !taken || b.versioning != Unversioned || c.r.Header.Get("X-Oss-Forbid-Overwrite") != "true" {
		return nil
	}
	return &failure{http.StatusConflict, "FileAlreadyExists", "The object you specified already exists and can not be overwritten.", "0026-00000006"}
}

// kept are the headers of a call that an object keeps.
func kept(h http.Header) (http.Header, *failure) {
	out := http.Header{}
	for name, values := range h {
		switch {
		case strings.HasPrefix(name, "X-Oss-Meta-"), name == "Content-Type", name == "X-Oss-Storage-Class",
			name == "X-Oss-Server-Side-Encryption", name == "X-Oss-Server-Side-Encryption-Key-Id":
			out[name] = values
		case name == "X-Oss-Tagging":
			out.Set("X-Oss-Tagging-Count", strconv.Itoa(strings.Count(values[0], "=")))
		}
	}
	for name, allowed := range map[string][]string{
		"X-Oss-Storage-Class":          {"", "Standard", "IA", "Archive", "ColdArchive", "DeepColdArchive"},
		"X-Oss-Server-Side-Encryption": {"", "AES256", "KMS", "SM4"},
	} {
		if !slices.Contains(allowed, out.Get(name)) {
			code := map[bool]string{true: "InvalidStorageClass", false: "InvalidEncryptionAlgorithmError"}[name == "X-Oss-Storage-Class"]
			return nil, &failure{http.StatusBadRequest, code, "The value of " + name + " is not supported.", "0016-00000001"}
		}
	}
	return out, nil
}

func (s *Server) serveObject(c *call, b *bucket, key string) *failure {
	switch c.r.Method {
	case http.MethodPut:
		return s.put(c, b, key)
	case http.MethodGet, http.MethodHead:
		return get(c, b, key)
	case http.MethodDelete:
		s.remove(c, b, key)
		return nil
	}
	return notImplemented()
}

func (s *Server) put(c *call, b *bucket, key string) *failure {
	header, f := kept(c.r.Header)
	if f == nil {
		f = b.forbidden(c, key)
	}
	if f != nil {
		return f
	}
	v := s.add(b, key, version{
		body: c.body, crc: crc64.Checksum(c.body, ecma), etag: etag(c.body), kind: "Normal", header: header, modified: c.now,
	})
	v.describe(c.w.Header())
	return nil
}

// describe tells of what was made.
func (v version) describe(h http.Header) {
	h.Set("Etag", v.etag)
	h.Set("X-Oss-Hash-Crc64ecma", strconv.FormatUint(v.crc, 10))
	if v.id != "" {
		h.Set("X-Oss-Version-Id", v.id)
	}
}

func get(c *call, b *bucket, key string) *failure {
	v, ok := b.current(key)
	if !ok {
		return &failure{http.StatusNotFound, "NoSuchKey", "The specified key does not exist.", "0026-00000001"}
	}
	h := c.w.Header()
	maps.Copy(h, v.header)
	v.describe(h)
	h.Set("X-Oss-Object-Type", v.kind)
	h.Set("Last-Modified", v.modified.Format(http.TimeFormat))
	body, status := v.body, http.StatusOK
	if text := c.r.Header.Get("Range"); text != "" && c.r.Method == http.MethodGet {
		from, to, ok := parseRange(text, int64(len(body)))
		switch {
		case ok && to < int64(len(body)) || ok && c.r.Header.Get("X-Oss-Range-Behavior") == "standard":
			to = min(to, int64(len(body))-1)
			h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(body)))
			body, status = body[from:to+1], http.StatusPartialContent
		case c.r.Header.Get("X-Oss-Range-Behavior") == "standard":
			return &failure{http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The requested range cannot be satisfied", "0026-00000010"}
		}
		// Otherwise a range that does not fit is as good as none: all comes.
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(status)
	if c.r.Method == http.MethodGet {
		_, _ = c.w.Write(body) // the client sees what is missing
	}
	return nil
}

func parseRange(text string, size int64) (from, to int64, ok bool) {
	first, last, _ := strings.Cut(strings.TrimPrefix(text, "bytes="), "-")
	from, err := strconv.ParseInt(first, 10, 64)
	if err != nil || from >= size {
		return 0, 0, false
	}
	if last == "" {
		return from, size - 1, true
	}
	to, err = strconv.ParseInt(last, 10, 64)
	return from, to, err == nil && to >= from
}

// remove always says yes.
func (s *Server) remove(c *call, b *bucket, key string) {
	id := c.r.URL.Query().Get("versionId")
	switch {
	case id != "":
		b.objects[key] = slices.DeleteFunc(b.objects[key], func(v version) bool { return v.id == id || v.id == "" && id == "null" })
		c.w.Header().Set("X-Oss-Version-Id", id)
	case b.versioning == Unversioned:
		delete(b.objects, key)
	default:
		v := s.add(b, key, version{marker: true, modified: c.now})
		c.w.Header().Set("X-Oss-Delete-Marker", "true")
		c.w.Header().Set("X-Oss-Version-Id", v.id)
	}
	if len(b.objects[key]) == 0 {
		delete(b.objects, key)
	}
	b.sorted = nil
	c.w.WriteHeader(http.StatusNoContent)
}

// Put places an object that its client knows nothing of.
func (s *Server) Put(bucket, key string, body []byte) {
	s.set(func() {
		s.add(s.buckets[bucket], key, version{
			body: body, crc: crc64.Checksum(body, ecma), etag: etag(body), kind: "Normal", header: http.Header{}, modified: s.now(),
		})
	})
}

// Get is the body of an object, nil when there is none.
func (s *Server) Get(bucket, key string) (body []byte) {
	s.set(func() {
		v, _ := s.buckets[bucket].current(key)
		body = v.body
	})
	return body
}

// Header is what an object was made with.
func (s *Server) Header(bucket, key string) (h http.Header) {
	s.set(func() {
		v, _ := s.buckets[bucket].current(key)
		h = v.header
	})
	return h
}

// Keys are those of all objects.
func (s *Server) Keys(bucket string) (keys []string) {
	s.set(func() { keys = slices.Clone(s.buckets[bucket].keys()) })
	return keys
}

// Versions is how many states of each key there are, marks of what was
// deleted included.
func (s *Server) Versions(bucket string) map[string]int {
	versions := map[string]int{}
	s.set(func() {
		for key, all := range s.buckets[bucket].objects {
			versions[key] = len(all)
		}
	})
	return versions
}

// Copy places an object again, with all that it was made with.
func (s *Server) Copy(bucket, from, to string) {
	s.set(func() {
		b := s.buckets[bucket]
		v, _ := b.current(from)
		s.add(b, to, v)
	})
}

func (b *bucket) keys() []string {
	if b.sorted == nil {
		for key := range b.objects {
			if _, ok := b.current(key); ok {
				b.sorted = append(b.sorted, key)
			}
		}
		slices.Sort(b.sorted)
	}
	return b.sorted
}

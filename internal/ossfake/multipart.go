package ossfake

import (
	"encoding/xml"
	"fmt"
	"hash/crc64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const maxParts = 10_000

type upload struct {
	id, key string
	header  http.Header
	parts   map[int]part
	started time.Time
}

type part struct {
	body []byte
	etag string
}

func (s *Server) serveUpload(c *call, b *bucket, key string) *failure {
	q := c.r.URL.Query()
	if q.Has("uploads") && c.r.Method == http.MethodPost {
		return s.begin(c, b, key)
	}
	u := b.uploads[q.Get("uploadId")]
	if u == nil || u.key != key {
		return &failure{http.StatusNotFound, "NoSuchUpload", "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.", "0042-00000002"}
	}
	switch c.r.Method {
	case http.MethodPut:
		return putPart(c, u)
	case http.MethodPost:
		return s.complete(c, b, u)
	case http.MethodGet:
		return listParts(c, b, u)
	case http.MethodDelete:
		delete(b.uploads, u.id)
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return notImplemented()
}

func (s *Server) begin(c *call, b *bucket, key string) *failure {
	header, f := kept(c.r.Header)
	if f == nil {
		f = b.forbidden(c, key)
	}
	if f != nil {
		return f
	}
	s.ids++
	u := &upload{id: fmt.Sprintf("%032X", s.ids), key: key, header: header, parts: map[int]part{}, started: c.now}
	b.uploads[u.id] = u
	answer(c, struct {
		XMLName     xml.Name `xml:"InitiateMultipartUploadResult"`
		Bucket, Key string
		UploadID    string `xml:"UploadId"`
	}{Bucket: b.name, Key: key, UploadID: u.id})
	return nil
}

func putPart(c *call, u *upload) *failure {
	n, err := strconv.Atoi(c.r.URL.Query().Get("partNumber"))
	if err != nil || n < 1 || n > maxParts {
		return &failure{http.StatusBadRequest, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive.", "0042-00000006"}
	}
	u.parts[n] = part{c.body, etag(c.body)}
	c.w.Header().Set("Etag", u.parts[n].etag)
	c.w.Header().Set("X-Oss-Hash-Crc64ecma", strconv.FormatUint(crc64.Checksum(c.body, ecma), 10))
	return nil
}

func (s *Server) complete(c *call, b *bucket, u *upload) *failure {
	var list struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := xml.Unmarshal(c.body, &list); err != nil || len(list.Part) == 0 {
		return &failure{http.StatusBadRequest, "MalformedXML", "The XML you provided was not well-formed.", "0042-00000220"}
	}
	var pieces [][]byte
	var tags strings.Builder
	last := 0
	for i, p := range list.Part {
		part, there := u.parts[p.PartNumber]
		switch {
		case p.PartNumber <= last:
			return &failure{http.StatusBadRequest, "InvalidPartOrder", "The list of parts was not in ascending order.", "0042-00000203"}
		case !there, strings.Trim(p.ETag, `"`) != strings.Trim(part.etag, `"`):
			return &failure{http.StatusBadRequest, "InvalidPart", "One or more of the specified parts could not be found or the specified entity tag might not have matched the part's entity tag.", "0042-00000202"}
		case i < len(list.Part)-1 && int64(len(part.body)) < s.minPart:
			return &failure{http.StatusBadRequest, "EntityTooSmall", "Your proposed upload smaller than the minimum allowed size.", "0042-00000205"}
		}
		last = p.PartNumber
		pieces = append(pieces, part.body)
		tags.WriteString(part.etag)
	}
	if f := b.forbidden(c, u.key); f != nil {
		return f
	}
	delete(b.uploads, u.id)
	body := slices.Concat(pieces...)
	v := s.add(b, u.key, version{
		body: body, crc: crc64.Checksum(body, ecma), etag: strings.TrimSuffix(etag([]byte(tags.String())), `"`) + fmt.Sprintf("-%d\"", len(list.Part)),
		kind: "Multipart", header: u.header, modified: c.now,
	})
	v.describe(c.w.Header())
	answer(c, struct {
		XMLName                     xml.Name `xml:"CompleteMultipartUploadResult"`
		Location, Bucket, Key, ETag string
	}{Location: "http://" + c.r.Host + "/" + u.key, Bucket: b.name, Key: u.key, ETag: v.etag})
	return nil
}

func listParts(c *call, b *bucket, u *upload) *failure {
	type entry struct {
		PartNumber, Size int
		ETag             string
	}
	out := struct {
		XMLName     xml.Name `xml:"ListPartsResult"`
		Bucket, Key string
		UploadID    string `xml:"UploadId"`
		IsTruncated bool
		Part        []entry
	}{Bucket: b.name, Key: escape(u.key), UploadID: u.id}
	for n := 1; n <= maxParts; n++ {
		if p, ok := u.parts[n]; ok {
			out.Part = append(out.Part, entry{n, len(p.body), p.etag})
		}
	}
	answer(c, out)
	return nil
}

// Uploads is how many are begun and neither completed nor aborted.
func (s *Server) Uploads(bucket string) (n int) {
	s.set(func() { n = len(s.buckets[bucket].uploads) })
	return n
}

// Expire forgets all uploads, as a lifecycle rule does.
func (s *Server) Expire(bucket string) { s.set(func() { clear(s.buckets[bucket].uploads) }) }

// Spoil changes what a part holds, as another client with the upload can.
func (s *Server) Spoil(bucket string, number int, body []byte) {
	s.set(func() {
		for _, u := range s.buckets[bucket].uploads {
			u.parts[number] = part{body, etag(body)}
		}
	})
}

func answer(c *call, out any) {
	c.w.Header().Set("Content-Type", "application/xml")
	text, err := xml.Marshal(out)
	if err != nil {
		c.w.WriteHeader(http.StatusInternalServerError)
		return
	}
	body := append([]byte(xml.Header), text...)
	c.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = c.w.Write(body) // the client sees what is missing
}

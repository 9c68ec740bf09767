package faultproxy

import (
	"net/http"
	"strings"
)

// Call is a kind of request. S3 and OSS write them alike.
type Call string

// The calls.
const (
	Put      Call = "put"
	Begin    Call = "begin" // of a multipart upload
	Part     Call = "part"
	Complete Call = "complete"
	Abort    Call = "abort"
	Head     Call = "head"
	Get      Call = "get"
	List     Call = "list"
	Uploads  Call = "uploads"
	Delete   Call = "delete"
	Other    Call = "other"
)

// Calls lists them all, but for Other.
func Calls() []Call {
	return []Call{Put, Begin, Part, Complete, Abort, Head, Get, List, Uploads, Delete}
}

// CallOf tells what a request is.
func CallOf(r *http.Request) Call {
	q := r.URL.Query()
	upload, part := q.Has("uploadId"), q.Has("partNumber")
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch r.Method {
	case http.MethodPut:
		if part && upload {
			return Part
		}
		return Put
	case http.MethodPost:
		switch {
		case q.Has("uploads"):
			return Begin
		case upload:
			return Complete
		}
	case http.MethodDelete:
		if upload {
			return Abort
		}
		return Delete
	case http.MethodHead:
		return Head
	case http.MethodGet:
		switch {
		case q.Has("uploads"):
			return Uploads
		case q.Has("list-type"), key == "":
			return List
		}
		return Get
	}
	return Other
}

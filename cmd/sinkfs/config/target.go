package config

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"github.com/sinkfs/sinkfs/backend"
)

// Target is where finished files go, taken apart.
type Target struct {
	Scheme string // file, s3, oss, hdfs
	Host   string // bucket or name node; "" for file
	Path   string // absolute for file and hdfs, else the prefix, "" for the whole bucket
}

// schemes are the targets there are, with an example of each.
var schemes = map[string]string{
	"file": "file:///data/target",
	"s3":   "s3://bucket/prefix",
	"oss":  "oss://bucket/prefix",
	"hdfs": "hdfs://namenode/path",
}

// ParseTarget reads a URL or a local path; a relative path is taken from the
// working directory.
func ParseTarget(s string) (Target, error) {
	scheme, rest, isURL := strings.Cut(s, "://")
	if !isURL || strings.ContainsAny(scheme, "/.") {
		abs, err := filepath.Abs(s)
		return Target{Scheme: "file", Path: abs}, err
	}
	example, known := schemes[scheme]
	if !known {
		return Target{}, fmt.Errorf("%q is not a store, write a directory or file://, s3://, oss:// or hdfs://", scheme+"://")
	}
	if strings.ContainsAny(rest, "?#") || strings.Contains(rest, "@") && scheme != "file" {
		// What stands there may be a secret: the text does not repeat it.
		return Target{}, fmt.Errorf("a %s target has no user, password or parameters, write %s; secrets come from the environment", scheme, example)
	}
	u, err := url.Parse(s)
	if err != nil {
		return Target{}, fmt.Errorf("it is not a URL, write %s: %w", example, errors.Unwrap(err))
	}
	t := Target{Scheme: scheme, Host: u.Host, Path: path.Clean("/" + u.Path)}
	switch {
	case scheme == "file" && u.Host != "":
		return Target{}, fmt.Errorf("file://%s names a host, write three slashes: file:///%s", u.Host, u.Host+u.Path)
	case scheme != "file" && u.Host == "":
		return Target{}, fmt.Errorf("the name after %s:// is missing, write %s", scheme, example)
	case scheme == "s3", scheme == "oss":
		t.Path = strings.TrimPrefix(t.Path, "/")
	}
	return t, nil
}

// String is the target as one URL, the same however it was written.
func (t Target) String() string {
	if t.Scheme == "s3" || t.Scheme == "oss" {
		// What ParseTarget would read otherwise the second time; all else stays
		// as it was written.
		return strings.TrimSuffix(t.Scheme+"://"+t.Host+"/"+backend.Escape(t.Scheme, t.Path), "/")
	}
	return (&url.URL{Scheme: t.Scheme, Host: t.Host, Path: t.Path}).String()
}

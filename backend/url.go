package backend

import (
	"fmt"
	"net/url"
	"strings"
)

// Escape writes a path or key as it stands in a URL of the scheme. Tools of
// object stores take keys nearly as they are, so there only what a URL would
// take for something else is escaped.
func Escape(scheme, path string) string {
	if scheme != "s3" && scheme != "oss" {
		return (&url.URL{Path: path}).EscapedPath()
	}
	var b strings.Builder
	for _, c := range []byte(path) {
		if c < ' ' || c == 0x7f || strings.IndexByte("%?#@", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

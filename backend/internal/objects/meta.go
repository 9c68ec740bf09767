package objects

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/sinkfs/sinkfs/backend"
)

// metaFile holds what the writer's file was like: mode, uid, gid and time of
// the last write. It is how our objects are told from others.
const metaFile = "sinkfs-file"

// emptyValue stands for an empty value, which some servers drop.
const emptyValue = "%"

// Metadata is what an object carries, as headers take it.
func Metadata(o backend.Object) map[string]string {
	m := make(map[string]string, len(o.Meta)+1)
	for k, v := range o.Meta {
		m[k] = encodeValue(v)
	}
	mtime := int64(0)
	if !o.ModTime.IsZero() {
		mtime = o.ModTime.UnixNano()
	}
	m[metaFile] = fmt.Sprintf("%04o,%d,%d,%d", o.Mode, o.UID, o.GID, mtime)
	return m
}

// ReadMetadata fills in what the metadata of one of our objects say; nothing
// for those of others. The keys of m are lower case.
func ReadMetadata(m map[string]string, i *backend.Info) {
	var mtime int64
	file, ours := m[metaFile]
	if n, err := fmt.Sscanf(file, "%o,%d,%d,%d", &i.Mode, &i.UID, &i.GID, &mtime); !ours || err != nil || n != 4 {
		i.Mode, i.UID, i.GID = 0, 0, 0
		return
	}
	i.Owned = true
	if mtime != 0 {
		i.ModTime = time.Unix(0, mtime).UTC()
	}
	if len(m) > 1 {
		i.Meta = make(backend.Meta, len(m)-1)
	}
	for k, v := range m {
		if k != metaFile {
			i.Meta[strings.ToLower(k)] = decodeValue(v)
		}
	}
}

// encodeValue writes any text in the characters that every header can carry,
// once: signatures and proxies fold spaces, and few agree on other letters.
func encodeValue(v string) string {
	if v == "" {
		return emptyValue
	}
	var b strings.Builder
	for i := range len(v) {
		if c := v[i]; c > ' ' && c < 0x7f && c != '%' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func decodeValue(v string) string {
	if v == emptyValue {
		return ""
	}
	if text, err := url.PathUnescape(v); err == nil {
		return text
	}
	return v // somebody else's
}

package lifecycle

import (
	"fmt"
	"io"
	"strings"

	"github.com/sinkfs/sinkfs/backend"
)

// The metadata of every object of ours: what fsck explains it by.
const (
	MetaInstance = "sinkfs-instance" // uid
	MetaPart     = "sinkfs-part"     // id, decimal
	MetaN        = "sinkfs-n"        // number in the name, decimal
	MetaSink     = "sinkfs-sink"
	MetaAttempt  = "sinkfs-attempt"
	MetaRecords  = "sinkfs-records"
	MetaRanges   = "sinkfs-ranges" // ino.gen:offset+length, … when they fit
)

// object is the part as the store gets it.
func (in *Instance) object(p *part, alive func(), open func() (io.ReadCloser, error)) backend.Object {
	return backend.Object{
		Key: backend.Key(p.Key), Size: p.Bytes, Open: open, Checksum: p.Checksum, Alive: alive, Meta: in.meta(p),
		Mode: p.Mode, UID: p.UID, GID: p.GID, ModTime: p.ModTime,
	}
}

func (in *Instance) meta(p *part) backend.Meta {
	m := backend.Meta{
		MetaInstance: in.uid, MetaPart: fmt.Sprint(p.ID), MetaN: fmt.Sprint(p.N), MetaSink: p.Sink,
		MetaAttempt: fmt.Sprint(p.Attempt), MetaRecords: fmt.Sprint(p.Records),
	}
	used := len(MetaRanges)
	for k, v := range m {
		used += len(k) + len(v)
	}
	if used > backend.MaxMeta { // a sink of a very long path
		delete(m, MetaSink)
		return m
	}
	var b strings.Builder
	for _, r := range p.Ranges {
		fmt.Fprintf(&b, "%d.%d:%d+%d,", r.Source.Ino, r.Source.Gen, r.Off, r.Len)
		if used+b.Len() > backend.MaxMeta {
			return m // the manifest has them
		}
	}
	m[MetaRanges] = strings.TrimSuffix(b.String(), ",")
	return m
}

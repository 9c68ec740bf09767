package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/sinkfs/sinkfs/format"
)

// body reads the ranges of a part as one stream, with the number of records
// and, unless whoever reads it takes that, the checksum of all of it once it
// was read to its end.
type body struct {
	p       *part
	next    int
	open    *source  // whose file is open
	file    *os.File // nil before the first range
	in      io.Reader
	staged  bool // the store takes the checksum
	sum     uint32
	counter format.Counter
	alive   func() // called as bytes pass
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newBody(p *part, alive func()) *body {
	return &body{p: p, counter: p.sink.Format.Records.Counter(), alive: alive}
}

// Read implements io.Reader.
func (b *body) Read(buf []byte) (int, error) {
	for {
		if b.in == nil {
			if b.next == len(b.p.Ranges) {
				return 0, io.EOF
			}
			if err := b.advance(); err != nil {
				return 0, err
			}
		}
		n, err := b.in.Read(buf)
		if !b.staged {
			b.sum = crc32.Update(b.sum, castagnoli, buf[:n])
		}
		_, _ = b.counter.Write(buf[:n]) // never fails
		b.alive()
		if errors.Is(err, io.EOF) {
			b.in = nil
			b.counter.Close()
			err = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// advance opens the next range; ranges of one source share a descriptor, and
// what was seen already needs none.
func (b *body) advance() error {
	s, r := b.p.sources[b.next], b.p.Ranges[b.next]
	if b.next < len(b.p.seen) {
		if data, ok := b.p.seen[b.next].of(r.Range); ok {
			b.in = bytes.NewReader(data)
			b.next++
			return nil
		}
	}
	if b.open != s {
		if err := b.Close(); err != nil {
			return err
		}
		f, err := s.node.Open(os.O_RDONLY)
		if err != nil {
			return err
		}
		b.open, b.file = s, f
	}
	b.in = io.NewSectionReader(b.file, r.Off, r.Len)
	b.next++
	return nil
}

// Close implements io.Closer.
func (b *body) Close() error {
	if b.file == nil {
		return nil
	}
	err := b.file.Close()
	b.file, b.open = nil, nil
	return err
}

func (b *body) checksum() string { return fmt.Sprintf("crc32c:%08x", b.sum) }

type readerWithContext struct {
	ctx context.Context //nolint:containedctx // it ends the reads of one call
	r   io.Reader
}

func (r readerWithContext) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}

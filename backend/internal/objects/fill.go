package objects

import (
	"context"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/sinkfs/sinkfs/backend"
)

// What S3 and OSS take.
const (
	MaxParts = 10_000  // parts of an upload
	MaxPart  = 5 << 30 // bytes of a part
)

// partTries bounds how often a part is sent before the upload is given up.
const partTries = 5

// plan is the size of an object's parts, and an error when no store of this
// kind could hold it.
func plan(o backend.Object, usual int64) (int64, error) {
	part := PartSize(o.Size, usual)
	if part > MaxPart {
		return 0, fmt.Errorf("stage %q: %d bytes are more than a store takes in one object, roll at a smaller size: %w",
			string(o.Key), o.Size, backend.ErrUnsupported)
	}
	return part, nil
}

// fits says whether a piece of n bytes may follow the size bytes that an
// object has, which is to be of at most limit.
func fits(k backend.Key, size, n, part, limit int64) error {
	switch {
	case size%part != 0:
		return fmt.Errorf("grow %q: the piece before this one was the last, it filled no part", string(k))
	case n > limit-size:
		return fmt.Errorf("grow %q: %d bytes are more than the %d announced", string(k), size+n, limit)
	}
	return nil
}

// PartSize is that of an object's parts: the configured one while 10,000 of
// them are enough.
func PartSize(size, usual int64) int64 {
	part := usual
	if size > usual*MaxParts {
		part = (size + MaxParts - 1) / MaxParts
		if usual >= 1<<20 {
			part = (part + 1<<20 - 1) &^ (1<<20 - 1)
		}
	}
	return part
}

// Parts sends a body in parts, in parallel within what the buffers hold.
type Parts struct {
	Object  backend.Object // with Alive
	First   int            // how many parts stand before it
	Part    int64          // size of each but the last
	Buffers *Buffers
	Sum     Sum
	// Send uploads the part of this number, from First+1. It is called again,
	// with a new body, while its error is transient.
	Send func(ctx context.Context, number int, n int64, sum uint64, body io.Reader) error
}

// Count is how many parts there are; of an empty body there is one.
func (p *Parts) Count() int { return int(max(1, (p.Object.Size+p.Part-1)/p.Part)) }

// Fill sends all parts and returns the checksum of the whole.
func (p *Parts) Fill(ctx context.Context, src *Source) (uint64, error) {
	if p.Part > p.Buffers.memory/2 {
		return p.stream(ctx, src)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	sum, err := p.fillBuffers(ctx, g, src)
	if err != nil {
		cancel()
	}
	if e := g.Wait(); e != nil && src.Err() == nil {
		err = e // the first failure; reading may have ended because of it
	}
	return sum, err
}

// fillBuffers reads the body once, one part after the other, and has each
// sent while it reads the next.
func (p *Parts) fillBuffers(ctx context.Context, g *errgroup.Group, src *Source) (sum uint64, err error) {
	left := p.Object.Size
	for i := range p.Count() {
		n := min(left, p.Part)
		left -= n
		buf, err := p.Buffers.get(ctx, n)
		if err != nil {
			return 0, err
		}
		partSum, err := readPart(src, buf, p.Sum)
		if err != nil {
			p.Buffers.put(buf)
			return 0, err
		}
		sum = p.Sum.Combine(sum, partSum, n)
		g.Go(func() error {
			defer p.Buffers.put(buf)
			return p.send(ctx, p.First+i+1, n, partSum, func() (io.ReadCloser, error) { return &piece{alive: p.Object.Alive, left: buf}, nil })
		})
	}
	return sum, nil
}

// stream sends parts that are too large to be held: one after the other, each
// read once for its checksum and once more to be sent.
func (p *Parts) stream(ctx context.Context, first *Source) (sum uint64, err error) {
	second := &rereader{o: p.Object}
	defer second.close()
	left := p.Object.Size
	for i := range p.Count() {
		n := min(left, p.Part)
		part := &Hash{Sum: p.Sum}
		if _, err := io.CopyBuffer(part, io.LimitReader(readerWithContext{ctx, first}, n), make([]byte, copyBuffer)); err != nil {
			return 0, err
		}
		sum = p.Sum.Combine(sum, part.Value, n)
		off := p.Object.Size - left
		left -= n
		err := p.send(ctx, p.First+i+1, n, part.Value, func() (io.ReadCloser, error) { return second.at(ctx, off, n) })
		if e := second.err(); e != nil {
			err = e
		}
		if err != nil {
			return 0, err
		}
	}
	return sum, nil
}

// send uploads one part, again and again with a new reader while that may
// help.
func (p *Parts) send(ctx context.Context, number int, n int64, sum uint64, open func() (io.ReadCloser, error)) error {
	_, err := again(ctx, partTries, func() (struct{}, error) {
		body, err := open()
		if err != nil {
			return struct{}{}, err
		}
		defer body.Close()
		return struct{}{}, p.Send(ctx, number, n, sum, body)
	})
	return err
}

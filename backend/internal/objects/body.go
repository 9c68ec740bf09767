package objects

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/sinkfs/sinkfs/backend"
)

// copyBuffer is how much of a body is read at a time.
const copyBuffer = 256 << 10

var errClosed = errors.New("the body was closed")

// bodyError is an error of the caller's body, which has no kind.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "read the body: " + e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

// Source reads a body and holds it to its size: the last bytes are handed out
// only once the end behind them was seen, so that a store never has all of a
// body that turns out to be wrong. It may be closed while the transport still
// reads.
type Source struct {
	alive func()

	mu     sync.Mutex
	body   io.ReadCloser // nil once closed
	size   int64
	left   int64
	failed error // of the body
}

// OpenSource opens the body of an object.
func OpenSource(o backend.Object) (*Source, error) {
	body, err := o.Open()
	if err != nil {
		return nil, &bodyError{err}
	}
	s := &Source{alive: o.Alive, body: body, size: o.Size, left: o.Size}
	if s.alive == nil {
		s.alive = func() {}
	}
	return s, nil
}

// Read implements io.Reader.
func (s *Source) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.failed != nil:
		return 0, s.failed
	case s.body == nil:
		return 0, errClosed
	case len(p) == 0:
		return 0, nil
	}
	n, err := s.body.Read(p)
	s.left -= int64(n)
	if s.left <= 0 && err == nil {
		var one [1]byte
		var more int
		for more == 0 && err == nil {
			more, err = s.body.Read(one[:])
		}
		s.left -= int64(more)
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		s.failed = &bodyError{err}
	case s.left < 0 || err != nil && s.left > 0:
		s.failed = &bodyError{fmt.Errorf("it does not have the %d bytes announced", s.size)}
	}
	if s.failed != nil {
		return 0, s.failed
	}
	s.alive()
	return n, err
}

// Err is what went wrong with the body itself, nil when nothing did, and of no
// source at all.
func (s *Source) Err() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// Close implements io.Closer. It waits for a Read that is under way. Nothing
// is to be closed of no source at all.
func (s *Source) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.body == nil {
		return nil
	}
	err := s.body.Close()
	s.body = nil
	return err
}

// SumOf reads a body to its end.
func SumOf(o backend.Object, sum Sum) (uint64, error) {
	s, err := OpenSource(o)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	h := &Hash{Sum: sum}
	_, err = io.CopyBuffer(h, struct{ io.Reader }{s}, make([]byte, min(copyBuffer, o.Size+1)))
	return h.Value, err
}

// ReadAll returns a body that is held in memory.
func ReadAll(o backend.Object) ([]byte, error) {
	src, err := OpenSource(o)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	body := make([]byte, o.Size)
	_, err = readPart(src, body, nil)
	return body, err
}

// readPart fills the buffer and returns the checksum of what is in it, if that
// is wanted, piece by piece while each is in the processor's cache; of an empty
// body it looks for the end.
func readPart(src *Source, buf []byte, of Sum) (sum uint64, err error) {
	if len(buf) == 0 {
		if _, err := src.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			return 0, err
		}
		return 0, nil
	}
	for rest := buf; len(rest) > 0; {
		n, err := io.ReadFull(src, rest[:min(copyBuffer, len(rest))])
		if err != nil {
			return 0, err
		}
		if of != nil {
			sum = of.Update(sum, rest[:n])
		}
		rest = rest[n:]
	}
	return sum, nil
}

// Sum is a checksum that can be put together from those of pieces.
type Sum interface {
	// Update returns the checksum of a text that ends with p, from that of
	// what stands before it.
	Update(sum uint64, p []byte) uint64
	// Combine returns the checksum of a text from those of its two pieces, of
	// which the second has n bytes.
	Combine(first, second uint64, n int64) uint64
	// Text is a checksum as Info has it.
	Text(sum uint64) string
}

// Hash takes the checksum of what is written to it.
type Hash struct {
	Sum   Sum
	Value uint64
}

// Write implements io.Writer.
func (h *Hash) Write(p []byte) (int, error) {
	h.Value = h.Sum.Update(h.Value, p)
	return len(p), nil
}

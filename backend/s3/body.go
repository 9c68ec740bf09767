package s3

import (
	"errors"
	"fmt"
	"hash/crc32"
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

// source reads a body and holds it to its size: the last bytes are handed out
// only once the end behind them was seen, so that a store never has all of a
// body that turns out to be wrong. It may be closed while the transport still
// reads.
type source struct {
	alive func()

	mu     sync.Mutex
	body   io.ReadCloser // nil once closed
	size   int64
	left   int64
	failed error // of the body
}

func openSource(o backend.Object) (*source, error) {
	body, err := o.Open()
	if err != nil {
		return nil, &bodyError{err}
	}
	s := &source{alive: o.Alive, body: body, size: o.Size, left: o.Size}
	if s.alive == nil {
		s.alive = func() {}
	}
	return s, nil
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
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

// err is what went wrong with the body itself, nil when nothing did.
func (s *source) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// Close implements io.Closer. It waits for a Read that is under way.
func (s *source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.body == nil {
		return nil
	}
	err := s.body.Close()
	s.body = nil
	return err
}

// sumOf reads a body to its end.
func sumOf(o backend.Object) (uint32, error) {
	s, err := openSource(o)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	hash := crc32.New(castagnoli)
	if _, err := io.CopyBuffer(hash, struct{ io.Reader }{s}, make([]byte, min(copyBuffer, o.Size+1))); err != nil {
		return 0, err
	}
	return hash.Sum32(), nil
}

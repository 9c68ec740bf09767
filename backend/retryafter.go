package backend

import (
	"errors"
	"time"
)

// WaitError is an error of a store that said when to come back.
type WaitError struct {
	After time.Duration
	Err   error
}

// Error is that of what it wraps.
func (e *WaitError) Error() string { return e.Err.Error() }

// Unwrap returns what it wraps.
func (e *WaitError) Unwrap() error { return e.Err }

// RetryAfter returns how long the store asked to be left alone, 0 when it did
// not.
func RetryAfter(err error) time.Duration {
	if w, ok := errors.AsType[*WaitError](err); ok {
		return w.After
	}
	return 0
}

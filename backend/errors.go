package backend

import "errors"

// The kinds of a store's errors. A driver wraps each error in exactly one of
// them (fmt.Errorf("…: %w: %w", ErrTransient, err)) or in none when it does
// not know; callers match kinds with errors.Is, never text.
var (
	// ErrNotExist: there is nothing at the key.
	ErrNotExist = errors.New("does not exist")
	// ErrExist: the key is taken.
	ErrExist = errors.New("already exists")
	// ErrPermission: the store refuses these credentials, or something else
	// stands where the key needs a directory. That may change, so a part waits.
	ErrPermission = errors.New("permission denied")
	// ErrGone: a staged object that the store no longer knows.
	ErrGone = errors.New("staged object is gone")
	// ErrTransient: worth another try: no space, no route, 5xx, throttled.
	ErrTransient = errors.New("temporary failure")
	// ErrUnsupported: the place cannot do what sinkfs needs.
	ErrUnsupported = errors.New("not supported")
	// ErrNotEmpty: a directory that cannot be removed while something is in it.
	ErrNotEmpty = errors.New("directory not empty")
	// ErrKey: the store cannot hold an object of this name.
	ErrKey = errors.New("not a possible name")
)

package local

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/backend"
)

// use says what an operation wanted from the directory, because the same
// errno means different things to a reader and to a writer.
type use int

const (
	reading use = iota
	writing
)

// classify wraps err with the kind a caller matches on.
func classify(u use, what string, k backend.Key, err error) error {
	if err == nil {
		return nil
	}
	if kind := kindOf(u, err); kind != nil {
		return fmt.Errorf("%s %q: %w: %w", what, string(k), kind, err)
	}
	return fmt.Errorf("%s %q: %w", what, string(k), err)
}

func kindOf(u use, err error) error {
	if _, ok := errors.AsType[*bodyError](err); ok {
		return nil // not the store's
	}
	for _, kind := range []error{
		backend.ErrNotExist, backend.ErrExist, backend.ErrPermission, backend.ErrGone,
		backend.ErrTransient, backend.ErrUnsupported, backend.ErrKey, backend.ErrNotEmpty,
	} {
		if errors.Is(err, kind) {
			return nil // classified closer to the cause
		}
	}
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return nil
	}
	switch errno {
	case unix.ENOENT:
		// A writer makes its directories itself: when one is missing, it was
		// taken away between two calls.
		return pick(u, backend.ErrNotExist, backend.ErrTransient)
	case unix.ENOTDIR, unix.ELOOP:
		// A file or a link stands where the key needs a directory. It is not
		// the key's fault: whoever put it there can take it away.
		return pick(u, backend.ErrNotExist, backend.ErrPermission)
	case unix.EEXIST:
		return backend.ErrExist
	case unix.EACCES, unix.EPERM, unix.EROFS:
		return backend.ErrPermission
	case unix.ENAMETOOLONG, unix.EILSEQ:
		return backend.ErrKey
	case unix.ENOTEMPTY:
		return backend.ErrNotEmpty
	case unix.EXDEV:
		// Another file system was mounted over the directory: stage again.
		return backend.ErrGone
	case unix.EOPNOTSUPP, unix.ENOSYS:
		return backend.ErrUnsupported
	case unix.ENOSPC, unix.EDQUOT, unix.EIO, unix.ENOMEM, unix.EMFILE, unix.ENFILE,
		unix.EAGAIN, unix.EINTR, unix.ESTALE, unix.ENODEV, unix.ENXIO, unix.ETIMEDOUT, unix.ENOTCONN:
		return backend.ErrTransient
	}
	return nil
}

func pick(u use, reader, writer error) error {
	if u == reading {
		return reader
	}
	return writer
}

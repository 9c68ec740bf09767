package fusefs

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle"
)

// What this package refuses itself.
var (
	errNotAppended = errors.New("a stream is written at its end only")
	errReleased    = errors.New("these bytes are finished and no longer kept here")
	errBadLine     = errors.New("not a trigger")
	errHandle      = errors.New("no such handle")
	errTooMany     = errors.New("too many open handles")
	errUnknownNode = errors.New("no such node")
)

// kindToErrno is the one table from errors to what programs see. The first
// kind that matches decides: a full disk is told before what it made fail.
var kindToErrno = []struct {
	kind  error
	errno syscall.Errno
}{
	{syscall.ENOSPC, syscall.ENOSPC},
	{syscall.EDQUOT, syscall.EDQUOT},

	{lifecycle.ErrFinished, syscall.EPERM},
	{lifecycle.ErrExist, syscall.EEXIST},
	{lifecycle.ErrOtherSink, syscall.EXDEV},
	{lifecycle.ErrReserved, syscall.EPERM},
	{lifecycle.ErrName, syscall.EILSEQ},
	{lifecycle.ErrKeyTooLong, syscall.ENAMETOOLONG},
	{lifecycle.ErrHoldsFinished, syscall.EPERM},
	{lifecycle.ErrUnfinished, syscall.EBUSY},
	{lifecycle.ErrAppendOnly, syscall.EPERM},
	{lifecycle.ErrBatch, syscall.EINVAL},
	{lifecycle.ErrIncomplete, syscall.EIO},
	{lifecycle.ErrStopped, syscall.EIO},
	{lifecycle.ErrState, syscall.EIO},
	{lifecycle.ErrTarget, syscall.EIO},

	{errNotAppended, syscall.ESPIPE},
	{errReleased, syscall.ENODATA},
	{errBadLine, syscall.EINVAL},
	{errHandle, syscall.EBADF},
	{errTooMany, syscall.ENFILE},
	{errUnknownNode, syscall.ESTALE},

	{backend.ErrNotExist, syscall.ENOENT},
	{backend.ErrExist, syscall.EEXIST},
	{backend.ErrNotEmpty, syscall.ENOTEMPTY},
	{backend.ErrPermission, syscall.EACCES},
	{backend.ErrGone, syscall.ESTALE},
	{backend.ErrTransient, syscall.EIO},
	{backend.ErrUnsupported, syscall.EOPNOTSUPP},
	{backend.ErrKey, syscall.EINVAL},

	{context.DeadlineExceeded, syscall.ETIMEDOUT},
	{context.Canceled, syscall.EINTR},
}

// status is the answer to a call that ended with err. What the table does not
// know is an errno of the spool, or else EIO and a line in the log.
func (f *FS) status(err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	errno, known := toErrno(err)
	if !known {
		f.log.Error("a call failed", slog.Any("error", err))
	}
	return fuse.Status(errno)
}

func toErrno(err error) (errno syscall.Errno, known bool) {
	for _, row := range kindToErrno {
		if errors.Is(err, row.kind) {
			return row.errno, true
		}
	}
	if errors.As(err, &errno) && errno != 0 {
		return errno, true
	}
	if errors.Is(err, fs.ErrNotExist) {
		return syscall.ENOENT, true
	}
	return syscall.EIO, false
}

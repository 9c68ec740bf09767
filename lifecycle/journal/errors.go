package journal

import (
	"errors"
	"fmt"
)

// Kinds of failure, for errors.Is. The text of the error itself says what
// happened and what to do; what rebuilds a damaged journal, or one that is
// behind, is for the caller to say.
var (
	// ErrDamaged: files of the journal are missing or altered. Nothing was
	// repaired.
	ErrDamaged = errors.New("journal damaged")
	// ErrBehind: the journal opens, but is older than what was once promised
	// durable.
	ErrBehind = errors.New("journal is older than its anchor")
	// ErrLocked: another process has the journal open.
	ErrLocked = errors.New("journal in use")
	// ErrVersion: a newer sinkfs wrote the journal.
	ErrVersion = errors.New("journal version not supported")
	// ErrFull: too little free space to write safely. It also is ENOSPC, and
	// the same call succeeds once there is space again.
	ErrFull = errors.New("too little free space for the journal")
	// ErrBroken: an earlier write failed, so what is durable is unknown until
	// the journal is opened again.
	ErrBroken = errors.New("journal broken by an earlier error")
	// ErrClosed: the journal was closed.
	ErrClosed = errors.New("journal closed")
)

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...))
}

func behind(have, want uint64) error {
	return fmt.Errorf("%w: it ends at transaction %d, but %d was written", ErrBehind, have, want)
}

func newer(version int) error {
	return fmt.Errorf("%w: its version is %d, this sinkfs knows %d: run the newer sinkfs again",
		ErrVersion, version, formatVersion)
}

func broken(cause error) error {
	return fmt.Errorf("%w: %w: restart sinkfs, it reads the journal again", ErrBroken, cause)
}

package journal

import "errors"

// Kinds of failure, for errors.Is. The text of the error itself says what
// happened and what to do.
var (
	// ErrDamaged: files of the journal are missing or altered. Nothing was
	// repaired or deleted.
	ErrDamaged = errors.New("journal damaged")
	// ErrBehind: the journal opens, but is older than what was once promised
	// durable.
	ErrBehind = errors.New("journal is behind its anchor")
	// ErrLocked: another process has the journal open.
	ErrLocked = errors.New("journal in use")
	// ErrVersion: a newer sinkfs wrote the journal.
	ErrVersion = errors.New("journal version not supported")
	// ErrFull: too little free space to write safely. It also is ENOSPC, and
	// the same call succeeds once there is space again.
	ErrFull = errors.New("journal disk full")
	// ErrBroken: an earlier write failed, so what is durable is unknown until
	// the journal is opened again.
	ErrBroken = errors.New("journal broken by an earlier error")
	// ErrClosed: the journal was closed.
	ErrClosed = errors.New("journal closed")
)

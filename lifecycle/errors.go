package lifecycle

import "errors"

// What a program or an operator may not do, or cannot do now. Names in the
// spool fail with the errno of the call instead.
var (
	// ErrFinished: the name belongs to a finished file, or to one that a
	// prepared checkpoint is about to finish.
	ErrFinished = errors.New("the file is finished, it never changes")
	// ErrExist: a finished file holds the name.
	ErrExist = errors.New("a finished file has this name")
	// ErrOtherSink: a rename from one sink to another.
	ErrOtherSink = errors.New("the names belong to different sinks")
	// ErrReserved: .sinkfs and _sinkfs are ours.
	ErrReserved = errors.New("the name is reserved")
	// ErrName: a name that is not UTF-8.
	ErrName = errors.New("the name is not UTF-8")
	// ErrKeyTooLong: no store could hold an object of this name.
	ErrKeyTooLong = errors.New("the name is too long for an object")
	// ErrHoldsFinished: a directory cannot move while finished files, or
	// files about to be finished, are in it.
	ErrHoldsFinished = errors.New("the directory holds finished files")
	// ErrUnfinished: the caller may not read what is not finished.
	ErrUnfinished = errors.New("the file is not finished yet")
	// ErrAppendOnly: a stream is only appended to, or truncated to nothing.
	ErrAppendOnly = errors.New("a stream is only appended to")

	// ErrBatch: in batch mode nothing is published before the end of input.
	ErrBatch = errors.New("batch mode publishes at the end of input only")
	// ErrIncomplete: a checkpoint did not get everything to its place; the
	// Checkpoint says what and why.
	ErrIncomplete = errors.New("not everything was published")
	// ErrStopped: the instance is closing.
	ErrStopped = errors.New("the mount is going away")

	// ErrState: the state directory is damaged or belongs to something else.
	ErrState = errors.New("state directory cannot be used")
	// ErrTarget: the target was never reached with this state directory.
	ErrTarget = errors.New("target cannot be used")
)

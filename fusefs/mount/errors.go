package mount

import "errors"

// Kinds of errors; each error says what, why and what to do.
var (
	// ErrNoParent: this process was not started by a supervisor.
	ErrNoParent = errors.New("this command is started by sinkfs mount")
	// ErrMountpoint: there is no mounting at this place.
	ErrMountpoint = errors.New("cannot mount")
	// ErrInUse: another process holds the state directory.
	ErrInUse = errors.New("state directory is in use")
	// ErrOption: a mount option that is not known, or not like this.
	ErrOption = errors.New("mount option")
	// ErrNoSupervisor: a mount of sinkfs, but nobody who keeps it.
	ErrNoSupervisor = errors.New("no process keeps this mount")
	// ErrDiffers: the live connection was negotiated in another way; the
	// worker ends and the supervisor mounts anew.
	ErrDiffers = errors.New("the connection was negotiated differently")
)

// Exit codes that a supervisor gives by itself; a worker's own are passed on.
const (
	CodeFailed      = 1
	CodeMount       = 5
	CodeUnpublished = 8 // also when nobody lived to count what is unpublished
)

// Package mount keeps a FUSE connection alive while the process that serves it
// comes and goes.
//
// A supervisor (Supervise) prepares the mountpoint, makes the mount and holds
// its /dev/fuse descriptor, so that calls wait instead of failing while no
// worker serves them. It starts a worker, a process that opens the instance
// and serves (Inherit, Worker). When the worker dies, the next one takes the
// connection over:
//
//   - The kernel negotiates once per connection. The supervisor reads the
//     INIT request itself and gives the same one to every worker; the first
//     answer goes to the kernel, every later one must be equal to it.
//   - What the dead worker had read and not answered, the kernel queues again
//     when it is asked to (FUSE_NOTIFY_RESEND), before the new worker reads
//     its first request: later, it would get its own requests twice.
//   - What it remembers of names is dropped (FUSE_NOTIFY_INC_EPOCH).
//
// Supervisor and worker talk over a socket pair (message.go), people and
// other commands over a socket in the state directory (control.go). Without a
// supervisor the same code runs in one process: Options.InProcess.
package mount

// Package programs tests what docs/SEMANTICS.md says of programs that write
// into a mount without knowing it: the real ones, on a real mount.
package programs

package backend

import "context"

// DirRemover is what a store offers besides that has directories of its own:
// one stays when the last object in it is gone.
type DirRemover interface {
	// RemoveDir removes a directory, durably, in one step, and only when
	// nothing is in it, of whomever and listed or not: else ErrNotEmpty.
	// ErrNotExist when there is no directory at the key.
	RemoveDir(ctx context.Context, dir Key) error
}

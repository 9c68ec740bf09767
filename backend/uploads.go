package backend

import (
	"context"
	"time"
)

// Probe is the key of the object by which a driver learns how its store
// behaves: no List tells of it, and it is removed again. An upload that is
// found there holds nothing of anybody's: it may be aborted at any time.
const Probe Key = "_sinkfs/probe"

// Upload is something staged in a store, as the store lists it: by whichever
// process, alive or dead, of whichever host.
type Upload struct {
	Key     Key
	ID      string // the store's
	Started time.Time
}

// UploadLister is what a store offers besides where the staged bytes of a
// process that died stay, and cost. The key alone explains an upload: it is
// journaled before the upload begins.
type UploadLister interface {
	// Uploads calls fn for each upload at and below the key, "" is all of the
	// target. Some stores list only the uploads of an exact key. It stops
	// with fn's error, which it returns as it is.
	Uploads(ctx context.Context, under Key, fn func(Upload) error) error
	// AbortUpload gives its bytes up; nil when it is gone already.
	AbortUpload(ctx context.Context, u Upload) error
}

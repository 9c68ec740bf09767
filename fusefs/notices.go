package fusefs

import (
	"sync/atomic"

	"github.com/sinkfs/sinkfs/lifecycle"
)

// Notices carries what the lifecycle does to spool files to the file system.
type Notices struct {
	fs atomic.Pointer[FS]
}

// NewNotices is made before the instance is opened.
func NewNotices() *Notices { return &Notices{} }

func (n *Notices) attach(f *FS) { n.fs.Store(f) }

// Observer is what the instance calls.
func (n *Notices) Observer() lifecycle.Observer {
	return lifecycle.Observer{
		Removing: func(ino uint64) {
			if f := n.fs.Load(); f != nil {
				f.back.removing(ino)
			}
		},
	}
}

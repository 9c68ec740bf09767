package fusefs

import (
	"log/slog"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// adoptHandles makes every handle of the earlier worker answer again. One
// whose file is gone answers ESTALE until it is closed.
func (f *FS) adoptHandles() {
	held := map[uint32]bool{}
	adopted := f.handles.adopt()
	for _, h := range adopted {
		switch {
		case h.has(handleDir):
		case spaceOf(h.node) == spaceSpool:
			if err := f.adoptFile(h); err != nil {
				f.log.Warn("a handle of the worker before is stale", slog.Uint64("ino", h.node), slog.Any("error", err))
			}
		case spaceOf(h.node) == spaceStore:
			h.key = f.nodes.keyOf(h.slot.key)
			held[h.slot.key] = true
		case spaceOf(h.node) == spaceControl:
			h.ctl = newControlFile(f, h.node)
			h.ctl.late = true
		}
	}
	f.nodes.adopt(held)
	f.log.Info("connection taken over", slog.Int("handles", len(adopted)))
}

func (f *FS) adoptFile(h *handle) error {
	ino, err := f.spoolIno(h.node)
	if err != nil {
		return err
	}
	a, err := f.in.Attr(ino)
	if err != nil {
		return err
	}
	if err := f.in.Adopt(ino, h.use()); err != nil {
		return err
	}
	file, err := f.files.acquire(f, h, ino, a.Gen, h.bits())
	if err != nil {
		f.in.ReleaseFile(ino, h.use())
		return err
	}
	h.file = file
	return nil
}

// reopen answers a resent OPEN or CREATE with the handle that the earlier
// worker made for it.
func (f *FS) reopen(h *handle, out *fuse.OpenOut) {
	out.Fh = h.fh
	switch {
	case h.ctl != nil:
		out.OpenFlags = h.ctl.openFlags()
	case h.file == nil:
		out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	case !h.has(handleCached):
		out.OpenFlags, out.BackingID, _ = f.ioMode(h.file, opening{flags: h.slot.flags, bits: h.bits()})
	}
}

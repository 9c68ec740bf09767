package fusefs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/sinkfs/sinkfs/lifecycle"
)

// Unlink takes an unfinished name away; a finished one only where the sink
// allows it.
func (f *FS) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	err := f.remove(h, name, opUnlink, f.unlink)
	return f.status(err)
}

// Rmdir removes an empty directory, of the spool, the store, or both.
func (f *FS) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return f.status(f.remove(h, name, opRmdir, f.rmdir))
}

// remove runs one of the two, once: if an earlier worker began it and the
// name is gone, it was done.
func (f *FS) remove(h *fuse.InHeader, name string, op operation, do func(directory, string) error) error {
	if name == lifecycle.ControlName {
		return lifecycle.ErrReserved
	}
	d, err := f.dir(h.NodeId)
	if err != nil {
		return err
	}
	_, begun := f.mem.begun(h.Unique, op)
	f.mem.begin(h.Unique, op, 0)
	err = do(d, name)
	if begun && absent(err) {
		return nil
	}
	return err
}

func (f *FS) unlink(d directory, name string) error {
	if d.ino != 0 {
		err := f.in.Unlink(d.ino, name)
		if !absent(err) {
			return err
		}
	}
	info, err := f.stat(d.key(name))
	if err != nil {
		return err
	}
	if info.Dir {
		return syscall.EISDIR
	}
	f.asksStore()
	return f.in.UnlinkFinished(f.lasting, d.key(name))
}

func (f *FS) rmdir(d directory, name string) error {
	if d.ino != 0 {
		a, err := f.in.Lookup(d.ino, name)
		if err == nil {
			return f.rmdirSpool(d, name, a.Ino)
		}
		if !absent(err) {
			return err
		}
	}
	info, err := f.stat(d.key(name))
	switch {
	case err != nil:
		return err
	case !info.Dir:
		return syscall.ENOTDIR
	}
	return f.rmdirStored(d.key(name))
}

func (f *FS) rmdirStored(key string) error {
	ctx, cancel := f.brief()
	defer cancel()
	if err := f.in.RmdirStored(ctx, key); err != nil {
		return err
	}
	f.nodes.goneStored(key)
	return nil
}

func (f *FS) rmdirSpool(d directory, name string, ino uint64) error {
	ctx, cancel := f.brief()
	defer cancel()
	if err := f.in.Rmdir(ctx, d.ino, name); err != nil {
		return err
	}
	f.nodes.gone(ino)
	return nil
}

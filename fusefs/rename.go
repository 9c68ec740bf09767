package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/lifecycle"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

const opcodeRename = 12 // has no flags: what stands there is the name

// Rename moves an unfinished name.
func (f *FS) Rename(_ <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	var flags uint32
	if in.Opcode != opcodeRename {
		flags = in.Flags
	}
	if flags&^unix.RENAME_NOREPLACE != 0 {
		return fuse.EINVAL
	}
	return f.status(f.rename(in, from, to, flags != 0))
}

func (f *FS) rename(in *fuse.RenameIn, from, to string, noReplace bool) error {
	if from == lifecycle.ControlName {
		return lifecycle.ErrReserved
	}
	source, err := f.dir(in.NodeId)
	if err != nil {
		return err
	}
	moved, err := f.renamed(&source, from)
	begunIno, begun := f.mem.begun(in.Unique, opRename)
	if err != nil && !(begun && absent(err)) {
		return err
	}
	target, werr := f.writable(in.Newdir, to)
	if werr != nil {
		return werr
	}
	if err != nil {
		// Gone from there: it is done if it is here.
		if a, lerr := f.in.Lookup(target.ino, to); lerr == nil && a.Ino == begunIno {
			return nil
		}
		return err
	}
	f.mem.begin(in.Unique, opRename, moved.Ino)
	ctx, cancel := f.brief()
	defer cancel()
	replaced, lerr := f.in.Lookup(target.ino, to)
	if err := f.in.Rename(ctx, source.ino, from, target.ino, to, noReplace); err != nil {
		return err
	}
	if lerr == nil && replaced.Kind == spool.Dir {
		f.nodes.gone(replaced.Ino) // its number comes back
	}
	if moved.Kind == spool.Dir {
		if lerr != nil {
			f.nodes.goneStored(target.key(to)) // the one that only the store had
		}
		f.nodes.goneStored(source.key(from))
	}
	return nil
}

// renamed is what is to move, in the spool. A file that only the store has is
// finished.
func (f *FS) renamed(d *directory, name string) (lifecycle.Attr, error) {
	if d.ino != 0 {
		a, err := f.in.Lookup(d.ino, name)
		if err == nil || !absent(err) {
			return a, err
		}
	}
	info, err := f.stat(d.key(name))
	switch {
	case err != nil:
		return lifecycle.Attr{}, err
	case info.Dir:
		return f.renamedStored(d, name)
	}
	return lifecycle.Attr{}, lifecycle.ErrFinished
}

// renamedStored gives a directory that only the store has a place in the spool,
// where it can move, unless it holds what is finished.
func (f *FS) renamedStored(d *directory, name string) (lifecycle.Attr, error) {
	ctx, cancel := f.brief()
	defer cancel()
	if !f.in.StoredEmpty(ctx, d.key(name)) {
		return lifecycle.Attr{}, lifecycle.ErrHoldsFinished
	}
	if err := f.settle(d); err != nil {
		return lifecycle.Attr{}, err
	}
	at := directory{path: d.key(name)}
	if id, ok := f.nodes.find(at.path); ok {
		at.id = id
	}
	if err := f.settle(&at); err != nil {
		return lifecycle.Attr{}, err
	}
	return f.in.Attr(at.ino)
}

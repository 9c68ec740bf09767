package fusefs

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// elements are the names in a path; none for the root.
func elements(path string) iter.Seq[string] {
	if path == "" {
		return func(func(string) bool) {}
	}
	return strings.SplitSeq(path, "/")
}

// absent says that a name was already gone.
func absent(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, backend.ErrNotExist)
}

// Unlink takes an unfinished name away; a finished one only where the sink
// allows it.
func (f *FS) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	err := f.remove(h, name, opUnlink, f.unlink)
	return f.status(err)
}

// Rmdir removes an empty directory of the spool.
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
		err := f.in.Unlink(f.lasting, d.ino, name)
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
	// It is there because finished files are.
	return fmt.Errorf("%q: %w", d.key(name), syscall.ENOTEMPTY)
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
	moved, err := f.renamed(source, from)
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
	f.mem.begin(in.Unique, opRename, moved)
	ctx, cancel := f.brief()
	defer cancel()
	replaced, lerr := f.in.Lookup(target.ino, to)
	if err := f.in.Rename(ctx, source.ino, from, target.ino, to, noReplace); err != nil {
		return err
	}
	if lerr == nil && replaced.Kind == spool.Dir {
		f.nodes.gone(replaced.Ino) // its number comes back
	}
	return nil
}

// renamed is the spool inode of the name that is to move. One that only the
// store has is finished, or holds what is.
func (f *FS) renamed(d directory, name string) (uint64, error) {
	if d.ino != 0 {
		a, err := f.in.Lookup(d.ino, name)
		if err == nil || !absent(err) {
			return a.Ino, err
		}
	}
	info, err := f.stat(d.key(name))
	switch {
	case err != nil:
		return 0, err
	case info.Dir:
		return 0, lifecycle.ErrHoldsFinished
	}
	return 0, lifecycle.ErrFinished
}

// Link is refused: a name more would be a part more, or none.
func (f *FS) Link(<-chan struct{}, *fuse.LinkIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EPERM
}

// Symlink is refused: a store has none.
func (f *FS) Symlink(<-chan struct{}, *fuse.InHeader, string, string, *fuse.EntryOut) fuse.Status {
	return fuse.EPERM
}

// Readlink finds no link.
func (f *FS) Readlink(<-chan struct{}, *fuse.InHeader) ([]byte, fuse.Status) {
	return nil, fuse.EINVAL
}

// Mknod is refused: programs make files with open(2).
func (f *FS) Mknod(<-chan struct{}, *fuse.MknodIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.EPERM
}

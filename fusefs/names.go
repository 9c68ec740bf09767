package fusefs

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// directory is one directory of the mount: a spool directory, one of the
// store, or both.
type directory struct {
	id   uint64
	ino  uint64 // of the spool directory, 0 while there is none
	path string
}

func (d directory) key(name string) string {
	if d.path == "" {
		return name
	}
	return d.path + "/" + name
}

// dir is the directory that the kernel means. Control directories are not
// among them: nothing can be changed there.
func (f *FS) dir(id uint64) (directory, error) {
	switch spaceOf(id) {
	case spaceSpool:
		ino, err := f.spoolIno(id)
		if err != nil {
			return directory{}, err
		}
		p, err := f.in.Path(ino)
		return directory{id: id, ino: ino, path: p}, err
	case spaceStore:
		n, ok := f.nodes.get(id)
		if !ok {
			return directory{}, fmt.Errorf("node %x: %w", id, errUnknownNode)
		}
		if !n.dir {
			return directory{}, syscall.ENOTDIR
		}
		d := directory{id: id, path: n.key}
		if n.ino != 0 {
			if p, err := f.in.Path(n.ino); err == nil { // it may have been renamed
				d.ino, d.path = n.ino, p
				return d, nil
			}
		}
		if ino, ok := f.spoolDir(n.key); ok {
			d.ino = ino
			f.nodes.became(id, ino)
		}
		return d, nil
	case spaceSinkfs, spaceControl:
	}
	return directory{}, lifecycle.ErrReserved
}

// spoolDir is the spool directory at a path.
func (f *FS) spoolDir(path string) (ino uint64, ok bool) {
	ino = f.root
	for name := range elements(path) {
		a, err := f.in.Lookup(ino, name)
		if err != nil || a.Kind != spool.Dir {
			return 0, false
		}
		ino = a.Ino
	}
	return ino, true
}

// settle gives a store-only directory its spool directory, in which names can
// be made. The kernel goes on knowing it by the id that it has.
func (f *FS) settle(d *directory) error {
	if d.ino != 0 {
		return nil
	}
	a, err := f.in.MkdirAll(d.path)
	if err != nil {
		return err
	}
	d.ino = a.Ino
	f.nodes.became(d.id, a.Ino)
	return nil
}

// Lookup finds a name: reserved ones, then the spool, then the store.
func (f *FS) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if s := spaceOf(h.NodeId); s == spaceSinkfs || s == spaceControl {
		return f.status(f.controlLookup(h.NodeId, name, out))
	}
	d, err := f.dir(h.NodeId)
	if err != nil {
		return f.status(err)
	}
	switch {
	case name == lifecycle.ControlName:
		return f.status(f.controlEntry(sinkfsID(d.id), out))
	case name == lifecycle.ManifestName && d.path == "":
		return fuse.ENOENT
	case !utf8.ValidString(name):
		return f.status(lifecycle.ErrName)
	}
	return f.status(f.lookup(d, name, out))
}

func (f *FS) lookup(d directory, name string, out *fuse.EntryOut) error {
	if d.ino != 0 {
		a, err := f.in.Lookup(d.ino, name)
		if err == nil {
			return f.spoolEntry(a, out)
		}
		if !errors.Is(err, syscall.ENOENT) {
			return err
		}
	}
	info, err := f.stat(d.key(name))
	if err != nil {
		return err
	}
	f.storeEntry(d.key(name), info, out)
	return nil
}

// spoolEntry answers with a file or directory of the spool.
func (f *FS) spoolEntry(a lifecycle.Attr, out *fuse.EntryOut) error {
	id := spoolID(a.Ino, a.Gen, f.root)
	if a.Kind == spool.Dir {
		if known, ok := f.nodes.again(a.Ino); ok {
			id = known
		}
	}
	out.NodeId = id
	if spaceOf(id) == spaceSpool {
		out.Generation = uint64(a.Gen)
	}
	f.spoolAttr(id, a, &out.Attr)
	out.SetEntryTimeout(nameKept(a.Kind))
	out.SetAttrTimeout(unfinishedAttr)
	return nil
}

// nameKept is how long the kernel believes an unfinished name. A file's name
// becomes the finished file's at a checkpoint, so it is looked up at each use.
// The kernel is never told instead: a notice about a name waits for the lock
// of its directory, which a program can hold that waits for a call's answer,
// and a thread in that wait keeps a killed worker from ending.
func nameKept(k spool.Kind) time.Duration {
	switch k {
	case spool.Dir, spool.Stream:
		return unfinishedName
	case spool.File, spool.Scratch:
	}
	return 0
}

// storeEntry answers with a finished file or a store-only directory.
func (f *FS) storeEntry(key string, info backend.Info, out *fuse.EntryOut) {
	out.NodeId = f.nodes.seen(key, info)
	f.storeAttr(out.NodeId, info, &out.Attr)
	out.SetEntryTimeout(finishedName)
	if info.Dir {
		out.SetEntryTimeout(directoryKept)
	}
	out.SetAttrTimeout(storeKept(info))
}

// Forget bounds the table of store nodes; other ids need none.
func (f *FS) Forget(id, lookups uint64) {
	if spaceOf(id) == spaceStore {
		f.nodes.forget(id, lookups)
	}
}

// writable is the directory in which a name is to be made.
func (f *FS) writable(id uint64, name string) (directory, error) {
	if name == lifecycle.ControlName || name == lifecycle.ManifestName {
		return directory{}, lifecycle.ErrReserved
	}
	if !utf8.ValidString(name) {
		return directory{}, lifecycle.ErrName
	}
	d, err := f.dir(id)
	if err == nil {
		err = f.settle(&d)
	}
	return d, err
}

// Mkdir makes a directory in the spool.
func (f *FS) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	d, err := f.writable(in.NodeId, name)
	if err != nil {
		return f.status(err)
	}
	a, err := f.in.Lookup(d.ino, name)
	if _, begun := f.mem.begun(in.Unique, opMkdir); err == nil && begun {
		return f.status(f.spoolEntry(a, out))
	}
	if err == nil {
		return f.status(syscall.EEXIST)
	}
	f.mem.begin(in.Unique, opMkdir, 0)
	ctx, cancel := f.brief()
	defer cancel()
	a, err = f.in.Mkdir(ctx, d.ino, name, in.Mode&0o7777&^f.cfg.Umask, callerOf(in.Caller))
	if err != nil {
		return f.status(err)
	}
	return f.status(f.spoolEntry(a, out))
}

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

package fusefs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"unicode/utf8"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle"
	"github.com/sinkfs/sinkfs/lifecycle/catalog"
)

// entry is one name of a listing: a directory, a finished file, or a control
// file. Never a source.
type entry struct {
	name  string
	id    uint64
	mode  uint32
	spool *lifecycle.Attr // of a directory of the spool
	info  *backend.Info   // of what only the store has
}

// listing is a directory as it was when reading began. It is made by its own
// goroutine: a reader that is interrupted comes back to the same one.
type listing struct {
	done    chan struct{}
	path    string
	entries []entry
	err     error

	// Guarded by the handle's lock.
	at    int // the entry after the last one that was given out
	read  bool
	index map[uint64]int
}

// Offsets of a listing. An entry's is a hash of its name, so that a position
// means the same to the next worker, whatever was published meanwhile.
const (
	offsetDot    = 1
	offsetDotDot = 2
)

// offsetOf is FNV-1a of the name, kept clear of the first offsets and of the
// sign.
func offsetOf(name string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	return h>>1 | 1<<62
}

// OpenDir opens a directory; it is listed at the first read.
func (f *FS) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if h := f.handles.ofRequest(in.Unique); h != nil {
		out.Fh = h.fh
		return fuse.OK
	}
	switch spaceOf(in.NodeId) {
	case spaceSpool, spaceStore:
		if _, err := f.dir(in.NodeId); err != nil {
			return f.status(err)
		}
	case spaceSinkfs:
	case spaceControl:
		if k, _ := controlOf(in.NodeId); k != controlCheckpoints {
			return fuse.ENOTDIR
		}
	}
	h := &handle{}
	err := f.handles.open(opening{unique: in.Unique, node: in.NodeId, flags: in.Flags, bits: handleDir, uid: in.Uid}, h)
	out.Fh = h.fh
	return f.status(err)
}

// ReleaseDir ends a handle of OpenDir.
func (f *FS) ReleaseDir(in *fuse.ReleaseIn) {
	if h := f.handles.get(in.Fh); h != nil {
		f.handles.close(h)
	}
}

// FsyncDir makes the names in a spool directory durable.
func (f *FS) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if s := spaceOf(in.NodeId); s != spaceSpool && s != spaceStore {
		return fuse.OK
	}
	d, err := f.dir(in.NodeId)
	if err != nil || d.ino == 0 {
		return f.status(err)
	}
	f.slow()
	return f.status(f.in.Sync(d.ino))
}

// ReadDir lists names.
func (f *FS) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.status(f.readDir(cancel, in, func(e entry, off uint64) bool {
		return out.AddDirEntry(fuse.DirEntry{Name: e.name, Ino: shownIno(e.id), Mode: e.mode, Off: off})
	}))
}

// ReadDirPlus lists names and looks each of them up, but for those of which the
// listing does not tell the owner: the kernel would believe a wrong one.
func (f *FS) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	var failed error
	err := f.readDir(cancel, in, func(e entry, off uint64) bool {
		// An entry without a node id is a name only.
		node := out.AddDirLookupEntry(fuse.DirEntry{Name: e.name, Ino: shownIno(e.id), Mode: e.mode, Off: off})
		switch {
		case node == nil:
			return false
		case e.spool != nil:
			failed = errors.Join(failed, f.spoolEntry(*e.spool, node))
		case e.info != nil && f.in.ListedWhole(*e.info):
			f.storeEntry(string(e.info.Key), *e.info, node)
		}
		return true
	})
	return f.status(errors.Join(err, failed))
}

func (f *FS) readDir(cancel <-chan struct{}, in *fuse.ReadIn, add func(entry, uint64) bool) error {
	h := f.handles.get(in.Fh)
	if h == nil || !h.has(handleDir) {
		return errHandle
	}
	l := f.listingOf(h, in.Offset == 0)
	select {
	case <-l.done:
	case <-cancel:
		return context.Canceled
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.err != nil {
		h.dir = nil // the next read may find the store up again
		return l.err
	}
	l.read = true
	return l.from(in.Offset, h.node, add)
}

// from gives out entries beginning with the one after an offset.
func (l *listing) from(off, self uint64, add func(entry, uint64) bool) error {
	if off == 0 && !add(entry{name: ".", id: self, mode: syscall.S_IFDIR}, offsetDot) {
		return nil
	}
	if off <= offsetDot && !add(entry{name: "..", id: rootID, mode: syscall.S_IFDIR}, offsetDotDot) {
		return nil
	}
	i := 0
	if off > offsetDotDot {
		var err error
		if i, err = l.after(off); err != nil {
			return err
		}
	}
	for ; i < len(l.entries); i++ {
		if !add(l.entries[i], offsetOf(l.entries[i].name)) {
			break
		}
	}
	l.at = i
	return nil
}

// after is the entry behind an offset: nearly always within what was given out
// last, else by index.
func (l *listing) after(off uint64) (int, error) {
	for i := l.at; i > max(0, l.at-64); i-- {
		if offsetOf(l.entries[i-1].name) == off {
			return i, nil
		}
	}
	if l.index == nil {
		l.index = make(map[uint64]int, len(l.entries))
		for i, e := range l.entries {
			l.index[offsetOf(e.name)] = i + 1
		}
	}
	i, ok := l.index[off]
	if !ok {
		return 0, fmt.Errorf("position %x of %q, the name there is gone: %w", off, l.path, syscall.ESTALE)
	}
	return i, nil
}

// listingOf is the handle's listing; reading from the start makes a new one,
// once the old was read from.
func (f *FS) listingOf(h *handle, start bool) *listing {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dir != nil && !(start && h.dir.read) {
		return h.dir
	}
	l := &listing{done: make(chan struct{})}
	h.dir = l
	f.waiting.Go(func() {
		defer close(l.done)
		l.entries, l.path, l.err = f.list(h.node)
	})
	return l
}

// list is what a directory shows: its directories and finished files.
func (f *FS) list(id uint64) (entries []entry, path string, err error) {
	if s := spaceOf(id); s == spaceSinkfs || s == spaceControl {
		return f.controlNames(id), lifecycle.ControlName, nil
	}
	d, err := f.dir(id)
	if err != nil {
		return nil, "", err
	}
	dirs, err := f.spoolDirs(d)
	if err != nil {
		return nil, d.path, err
	}
	f.slow()
	ctx, cancel := context.WithTimeout(f.lasting, listPatience)
	defer cancel()
	// Both are in byte order of the names; of two the spool's counts.
	err = f.cat.List(ctx, backend.Key(d.path), "", func(name string, info backend.Info) error {
		for len(dirs) > 0 && dirs[0].name < name {
			entries, dirs = append(entries, dirs[0]), dirs[1:]
		}
		if len(dirs) > 0 && dirs[0].name == name || hidden(d, name) {
			return nil
		}
		entries = append(entries, storeListed(d, name, info))
		return nil
	})
	if err != nil && !errors.Is(err, backend.ErrNotExist) {
		return nil, d.path, err
	}
	return append(entries, dirs...), d.path, nil
}

func hidden(d directory, name string) bool {
	return name == lifecycle.ControlName || d.path == "" && name == lifecycle.ManifestName || !utf8.ValidString(name)
}

func storeListed(d directory, name string, info backend.Info) entry {
	info.Key, info.Meta = backend.Key(d.key(name)), nil
	e := entry{name: name, id: storeID(catalog.Ino(info.Key)), mode: syscall.S_IFREG, info: &info}
	if info.Dir {
		e.mode = syscall.S_IFDIR
	}
	return e
}

func (f *FS) spoolDirs(d directory) ([]entry, error) {
	if d.ino == 0 {
		return nil, nil
	}
	attrs, names, err := f.in.Names(d.ino)
	if err != nil {
		return nil, err
	}
	out := make([]entry, len(names))
	for i, name := range names {
		id := spoolID(attrs[i].Ino, attrs[i].Gen, f.root)
		if known, ok := f.nodes.alias(attrs[i].Ino); ok {
			id = known
		}
		out[i] = entry{name: name, id: id, mode: syscall.S_IFDIR, spool: &attrs[i]}
	}
	slices.SortFunc(out, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	return out, nil
}

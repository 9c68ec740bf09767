package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/internal/fault"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// The exported methods of this file and of rename.go and handles.go are the
// name space of what is not finished, for one mount. Directories and files
// are given by spool inode number. Errors wrap a syscall.Errno or one of this
// package's kinds. They are safe for concurrent use and never wait for the
// store longer than a moment.

// Names that no program can create: the control directory, and where
// manifests go in the target.
const (
	ControlName  = ".sinkfs"
	ManifestName = "_sinkfs"
)

// Attr is what stat shows of an unfinished name. Size is logical: physical
// less base.
type Attr struct {
	Ino   uint64
	Gen   uint32
	Kind  spool.Kind
	Base  int64
	Size  int64
	Stat  spool.Stat
	Ended bool // a prepared checkpoint holds it: it counts as finished

	Unlinked bool // its name is gone
}

// Caller is who makes a call. The kernel has checked the mode bits already
// (default_permissions); UID is what ReadUnfinished goes by.
type Caller struct{ UID, GID uint32 }

// Root is the inode number of the root directory.
func (in *Instance) Root() uint64 { return in.tree.Root().ID().Ino }

// node is the live node of an inode number.
func (in *Instance) node(ino uint64) (*spool.Node, error) {
	n := in.tree.Node(ino)
	if n == nil {
		return nil, fmt.Errorf("inode %d: %w", ino, syscall.ESTALE)
	}
	return n, nil
}

func (in *Instance) dirNode(ino uint64) (*spool.Node, error) {
	n, err := in.node(ino)
	if err == nil && n.Kind() != spool.Dir {
		return nil, fmt.Errorf("%q: %w", n.Path(), syscall.ENOTDIR)
	}
	return n, err
}

func (in *Instance) attrOf(n *spool.Node) (Attr, error) {
	a, err := attrLocked(n)
	if err == nil && a.Kind == spool.File {
		if s := in.source(a.Ino); s != nil {
			s.mu.Lock()
			a.Ended = s.ended
			s.mu.Unlock()
		}
	}
	return a, err
}

// attrLocked is attrOf for callers that hold the source's lock: they know
// whether it is ended.
func attrLocked(n *spool.Node) (Attr, error) {
	st, err := n.Stat()
	if err != nil {
		return Attr{}, err
	}
	id := n.ID()
	a := Attr{Ino: id.Ino, Gen: id.Gen, Kind: n.Kind(), Base: n.Base(), Stat: st, Unlinked: n.Unlinked()}
	a.Size = max(0, st.Size-a.Base)
	return a, nil
}

// Lookup finds an unfinished name or a directory of the spool. Finished files
// and directories that only the store has are the Catalog's.
func (in *Instance) Lookup(dir uint64, name string) (Attr, error) {
	d, err := in.dirNode(dir)
	if err != nil {
		return Attr{}, err
	}
	n := in.tree.Lookup(d, name)
	if n == nil {
		return Attr{}, syscall.ENOENT // bare: each name that is created was looked up twice before
	}
	return in.attrOf(n)
}

// Path is the current path of a spool inode, "" for the root; an error
// wrapping ESTALE for one that is not known.
func (in *Instance) Path(ino uint64) (string, error) {
	n, err := in.node(ino)
	if err != nil {
		return "", err
	}
	return n.Path(), nil
}

// Names lists the spool directories directly in dir, never sources.
func (in *Instance) Names(dir uint64) ([]Attr, []string, error) {
	d, err := in.dirNode(dir)
	if err != nil {
		return nil, nil, err
	}
	var attrs []Attr
	var names []string
	for _, n := range in.tree.Children(d) {
		if n.Kind() != spool.Dir {
			continue
		}
		a, err := in.attrOf(n)
		if errors.Is(err, syscall.ENOENT) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		attrs, names = append(attrs, a), append(names, n.Name())
	}
	return attrs, names, nil
}

// Attr is fresh from the spool file.
func (in *Instance) Attr(ino uint64) (Attr, error) {
	n, err := in.node(ino)
	if err != nil {
		return Attr{}, err
	}
	return in.attrOf(n)
}

// checkName refuses names that nothing of ours could have.
func checkName(name string) error {
	switch {
	case name == ControlName, name == ManifestName:
		return fmt.Errorf("%q: %w", name, ErrReserved)
	case !utf8.ValidString(name):
		return fmt.Errorf("%q: %w", name, ErrName)
	}
	return nil
}

// longestBucket is room for a bucket's directory and a part's own name in the
// key of a source's part.
const longestBucket = 128

// checkKey refuses a source whose parts could not have a key.
func (in *Instance) checkKey(sink *Sink, p string) error {
	n := len(p)
	if !sink.File {
		n += longestBucket
	}
	if limit := in.store.Properties().MaxKey; n > limit {
		return fmt.Errorf("%.40q… and its part's name would have %d bytes, the store takes %d: %w", p, n, limit, ErrKeyTooLong)
	}
	return nil
}

// stored asks what the store has at a path. A store that does not answer has
// nothing: a writer must not wait for it, and the commit never overwrites.
func (in *Instance) stored(ctx context.Context, p string) (info backend.Info, ok bool) {
	info, err := in.cat.Stat(ctx, backend.Key(p))
	return info, err == nil
}

// finishedMeanwhile says whether a checkpoint finished the path after the
// store was asked.
func (in *Instance) finishedMeanwhile(p string) bool {
	known, exists := in.cat.Exists(backend.Key(p))
	return known && exists
}

// Create makes a source. Its kind is decided by its name, for good. The
// caller has just looked the name up, in the store too: only a file that a
// checkpoint finished since then is found here, as ErrExist.
func (in *Instance) Create(dir uint64, name string, mode uint32, c Caller) (Attr, error) {
	if err := checkName(name); err != nil {
		return Attr{}, err
	}
	d, err := in.dirNode(dir)
	if err != nil {
		return Attr{}, err
	}
	p := path.Join(d.Path(), name)
	sink := in.sinkOf(p)
	if err := in.checkKey(sink, p); err != nil {
		return Attr{}, err
	}
	in.names.Lock()
	defer in.names.Unlock()
	if in.finishedMeanwhile(p) {
		return Attr{}, fmt.Errorf("%q: %w", p, ErrExist)
	}
	n, err := in.tree.Create(d, name, sink.kindOf(name), mode, c.UID, c.GID)
	if err != nil {
		return Attr{}, err
	}
	if err := fault.Hit(fault.SpoolCreate); err != nil {
		return Attr{}, errors.Join(err, in.tree.Remove(n))
	}
	in.adopt(n)
	return in.attrOf(n)
}

// adopt makes the source of a new node known.
func (in *Instance) adopt(n *spool.Node) {
	in.mu.Lock()
	defer in.mu.Unlock()
	s := in.newSource(n, in.now())
	s.proven = true // nobody else can know the file
	in.sources[n.ID().Ino] = s
	if n.Kind() == spool.Scratch {
		in.noteScratch(n.Path())
	}
}

// noteScratch says that a name will never be published.
func (in *Instance) noteScratch(path string) {
	in.events.scratch(path)
	in.log.Info("scratch, never published under this name", slog.String("path", path))
}

// Mkdir makes a directory in the spool; EEXIST when the spool or the store
// has the name.
func (in *Instance) Mkdir(ctx context.Context, dir uint64, name string, mode uint32, c Caller) (Attr, error) {
	if err := checkName(name); err != nil {
		return Attr{}, err
	}
	d, err := in.dirNode(dir)
	if err != nil {
		return Attr{}, err
	}
	p := path.Join(d.Path(), name)
	if err := in.checkKey(in.sinkOf(p), p); err != nil {
		return Attr{}, err
	}
	if _, ok := in.stored(ctx, p); ok {
		return Attr{}, fmt.Errorf("%q: %w", p, syscall.EEXIST)
	}
	in.names.Lock()
	defer in.names.Unlock()
	n, err := in.tree.Mkdir(d, name, mode, c.UID, c.GID)
	if err != nil {
		return Attr{}, err
	}
	return in.attrOf(n)
}

// MkdirAll makes the spool directory for a path that exists in the store
// only, with the mode and owner of implied directories.
func (in *Instance) MkdirAll(p string) (Attr, error) {
	for element := range strings.SplitSeq(p, "/") {
		if err := checkName(element); err != nil {
			return Attr{}, err
		}
	}
	in.names.Lock()
	defer in.names.Unlock()
	n, err := in.tree.MkdirAll(p, in.cfg.DirMode, in.cfg.UID, in.cfg.GID)
	if err != nil {
		return Attr{}, err
	}
	return in.attrOf(n)
}

// SetAttr changes what is not nil.
type SetAttr struct {
	Mode, UID, GID *uint32
	Atime, Mtime   *time.Time
}

// SetAttr on an unfinished file or directory.
func (in *Instance) SetAttr(ino uint64, a SetAttr) (Attr, error) {
	n, err := in.node(ino)
	if err != nil {
		return Attr{}, err
	}
	if s := in.source(ino); s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.ended {
			return Attr{}, fmt.Errorf("%q: %w", n.Path(), ErrFinished)
		}
		if n.Kind() == spool.Stream {
			if _, err := s.observe(in.now()); err != nil { // before the mtime lies
				return Attr{}, err
			}
		}
		s.touched = in.now()
		in.withdraw(s)
	}
	if err := in.tree.SetAttr(n, a.Mode, a.UID, a.GID, a.Atime, a.Mtime); err != nil {
		return Attr{}, err
	}
	return attrLocked(n)
}

// Free is what statfs shows of the spool's file system, in bytes.
func (in *Instance) Free() (free, total uint64, err error) { return in.tree.Free() }

// Sync makes a file durable, its name included.
func (in *Instance) Sync(ino uint64) error {
	n, err := in.node(ino)
	if err != nil {
		return err
	}
	return n.Sync()
}

// Descriptor opens the spool file itself, with flags of open(2). The caller
// closes it.
func (in *Instance) Descriptor(ino uint64, flags int) (*os.File, error) {
	n, err := in.node(ino)
	if err != nil {
		return nil, err
	}
	return n.Open(flags)
}

// Generation tells a spool inode from one that had its number before; an error
// wrapping ESTALE when nothing has it.
func (in *Instance) Generation(ino uint64) (uint32, error) {
	n, err := in.node(ino)
	if err != nil {
		return 0, err
	}
	return n.ID().Gen, nil
}

// Extent is the base of a stream and the end of its released bytes, both
// physical: what lies before released reads as ENODATA.
func (in *Instance) Extent(ino uint64) (base, released int64) {
	n := in.tree.Node(ino)
	if n == nil {
		return 0, 0
	}
	return n.Base(), n.Done()
}

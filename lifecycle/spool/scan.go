package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxIno is the first inode number that a spool does not take: a node id of
// the mount has room for 48 bits beside the rest. XFS numbers by place, and
// gets there with 128 PB.
const MaxIno = 1 << 48

// scan builds the index.
func (t *Tree) scan() error {
	var err error
	if t.grave, err = t.scanRoot(graveDir); err != nil {
		return err
	}
	delete(t.nodes, t.grave.id.Ino) // programs never see it
	if t.root, err = t.scanRoot(treeDir); err != nil {
		return err
	}
	for todo := []*Node{t.root}; len(todo) > 0; {
		dir := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if err := t.scanDir(dir); err != nil {
			return err
		}
		for _, c := range dir.children {
			if c.isDir() {
				todo = append(todo, c)
			}
		}
	}
	return t.scanGrave()
}

func (t *Tree) scanRoot(name string) (*Node, error) {
	fd, err := t.openBeneath(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	defer func() { _ = unix.Close(fd) }() // read only
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", name, err)
	}
	return t.scanNode(fd, &st, nil, name)
}

// list reads a directory's entries and hands its descriptor to fn.
func (t *Tree) list(dir *Node, fn func(fd int, entries []fs.DirEntry) error) error {
	fd, err := dir.openLocked(unix.O_RDONLY | unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("open directory %q: %w", dir.join(nil), err)
	}
	// The name serves os.File where a file system gives no entry types: it
	// then asks for each by path.
	f := os.NewFile(uintptr(fd), fmt.Sprintf("/proc/self/fd/%d", fd))
	defer func() { _ = f.Close() }() // read only
	entries, err := f.ReadDir(-1)
	if err != nil {
		return fmt.Errorf("read directory %q: %w", dir.join(nil), err)
	}
	return fn(fd, entries)
}

func (t *Tree) scanDir(dir *Node) error {
	return t.list(dir, func(fd int, entries []fs.DirEntry) error {
		for _, e := range entries {
			n, err := t.scanEntry(fd, dir, e)
			if err != nil {
				return err
			}
			if n != nil {
				dir.children[n.name] = n
			}
		}
		return nil
	})
}

// scanEntry describes one directory entry; nil when it was an empty leftover.
func (t *Tree) scanEntry(dirfd int, dir *Node, e fs.DirEntry) (*Node, error) {
	where := dir.join(nil) + "/" + e.Name()
	// Before the open: opening a device or a pipe is an act.
	if e.Type()&^fs.ModeDir != 0 {
		return nil, fmt.Errorf("%w: %q is a %s: only files and directories belong there: move it away", ErrDamaged, where, typeName(e.Type()))
	}
	fd, err := unix.Openat(dirfd, e.Name(), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", where, err)
	}
	defer func() { _ = unix.Close(fd) }() // read only
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("stat %q: %w", where, err)
	}
	if f := st.Mode & unix.S_IFMT; f != unix.S_IFREG && f != unix.S_IFDIR {
		return nil, fmt.Errorf("%w: %q is not a file: move it away", ErrDamaged, where)
	}
	n, err := t.scanNode(fd, &st, dir, e.Name())
	if errors.Is(err, errLeftover) {
		t.log.Info("removed an empty file that no create has answered for", slog.String("path", where))
		if err = unix.Unlinkat(dirfd, e.Name(), 0); err != nil {
			return nil, fmt.Errorf("remove empty %q: %w", where, err)
		}
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%q: %w", where, err)
	}
	return n, nil
}

func typeName(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m&fs.ModeDevice != 0:
		return "device"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	}
	return "special file"
}

// errLeftover: undescribed and empty.
var errLeftover = errors.New("empty file without a description")

// scanNode enters an open file or directory into the index.
func (t *Tree) scanNode(fd int, st *unix.Stat_t, dir *Node, name string) (*Node, error) {
	if st.Dev != t.dev {
		return nil, fmt.Errorf("%w: it is on another file system or subvolume than the spool's directory", ErrDamaged)
	}
	if st.Ino >= MaxIno {
		return nil, fmt.Errorf("%w: inode number %d is too large (overlayfs: mount it with xino=off)", ErrUnsupported, st.Ino)
	}
	n := &Node{t: t, parent: dir, name: name}
	d, err := t.scanDesc(fd, st, n)
	if err != nil {
		return nil, err
	}
	gen, isNew, err := t.generation(fd, d.gen)
	if err != nil {
		return nil, err
	}
	if isNew {
		d.gen = gen
		if err := writeDesc(fd, d); err != nil {
			return nil, err
		}
	}
	n.id = ID{Ino: st.Ino, Gen: gen}
	n.desc.Store(d)
	n.metaAt.Store(t.clock.Load()) // what is durable of an earlier run is not known
	n.nameAt.Store(t.clock.Load())
	if other := t.nodes[n.id.Ino]; other != nil {
		return nil, fmt.Errorf("%w: it is a hard link of %q: remove one of the two names", ErrDamaged, other.join(nil))
	}
	t.nodes[n.id.Ino] = n
	return n, nil
}

// scanDesc reads the description or makes one for a file that lost its own.
func (t *Tree) scanDesc(fd int, st *unix.Stat_t, n *Node) (*desc, error) {
	d, err := readDesc(fd)
	if err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		n.children = map[string]*Node{}
		if d == nil || d.kind != Dir {
			d = &desc{kind: Dir}
		}
		return d, nil
	}
	if d != nil && d.kind == Dir {
		return nil, fmt.Errorf("%w: a file that says it is a directory: remove its attribute %s to have all of it published", ErrDamaged, attrName)
	}
	if d != nil {
		return d, nil
	}
	if st.Size == 0 {
		return nil, errLeftover
	}
	d = &desc{kind: Stream}
	n.adopted = true
	t.log.Warn("adopted an undescribed file as a stream: all of its bytes will be published",
		slog.String("path", n.join(nil)), slog.Int64("bytes", st.Size))
	return d, writeDesc(fd, d)
}

// pathSuffix ends the name of a file that holds the last path of an unlinked
// one, where the attribute is too small for it.
const pathSuffix = ".path"

// scanGrave enters the files whose name is gone.
func (t *Tree) scanGrave() error {
	if err := t.scanUnlinked(); err != nil {
		return err
	}
	for _, n := range t.grave.children {
		if n.isDir() {
			return fmt.Errorf("%w: %q is a directory: move it away", ErrDamaged, n.join(nil))
		}
		n.state = unlinked
		n.last = n.desc.Load().path
		if n.desc.Load().long {
			b, err := t.readPath(n.name)
			if err != nil {
				return err
			}
			n.last = b
		}
		if n.last == "" { // its description was lost with its path
			n.last = n.name
		}
	}
	return nil
}

func (t *Tree) scanUnlinked() error {
	return t.list(t.grave, func(fd int, entries []fs.DirEntry) error {
		var sidecars []string
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), pathSuffix) {
				sidecars = append(sidecars, e.Name())
				continue
			}
			n, err := t.scanEntry(fd, t.grave, e)
			if err != nil {
				return err
			}
			if n != nil {
				t.grave.children[n.name] = n
			}
		}
		for _, name := range sidecars {
			if t.grave.children[strings.TrimSuffix(name, pathSuffix)] != nil {
				continue
			}
			if err := unix.Unlinkat(fd, name, 0); err != nil {
				return fmt.Errorf("remove %q: %w", graveDir+"/"+name, err)
			}
		}
		return nil
	})
}

// readPath reads the last path of the unlinked file of that name.
func (t *Tree) readPath(name string) (string, error) {
	rel := graveDir + "/" + name + pathSuffix
	fd, err := t.openBeneath(rel, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("%w: open %q: %w: write the path that %q shall be published under into that file", ErrDamaged, rel, err, name)
	}
	defer func() { _ = unix.Close(fd) }() // read only
	buf := make([]byte, maxPath+1)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return "", fmt.Errorf("read %q: %w", rel, err)
	}
	if n == 0 || n > maxPath {
		return "", fmt.Errorf("%w: %q holds no path: write the one that %q shall be published under into it", ErrDamaged, rel, name)
	}
	return string(buf[:n]), nil
}

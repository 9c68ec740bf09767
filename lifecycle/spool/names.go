package spool

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxPath bounds Path: with the spool's own directory in front it has to pass
// for a path in one system call, and in a file's description.
const maxPath = 4000

// checkName refuses what no directory entry can be. Lengths are the file
// system's to refuse.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return unix.EINVAL
	}
	return nil
}

// place returns where name in dir is, relative to the spool's directory, for
// as long as t.names is held.
func (t *Tree) place(dir *Node, name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	if !dir.isDir() {
		return "", unix.ENOTDIR
	}
	rel, err := dir.rel()
	if err != nil {
		return "", err
	}
	if len(rel)+1+len(name) > maxPath {
		return "", unix.ENAMETOOLONG
	}
	return rel + "/" + name, nil
}

// failName adds what and which to an error of a name in a directory.
func failName(op string, dir *Node, name string, err error) error {
	return fmt.Errorf("spool: %s %q: %w", op, path.Join(dir.Path(), name), err)
}

// Create makes an empty file of that kind, mode and owner. The name and its
// description survive the death of this process; to survive a power cut they
// need [Node.Sync]. Errors wrap EEXIST, ENOSPC, ENAMETOOLONG, EINVAL, ….
func (t *Tree) Create(dir *Node, name string, k Kind, mode, uid, gid uint32) (*Node, error) {
	if k == Dir || k > Scratch {
		return nil, failName("create", dir, name, unix.EINVAL)
	}
	t.names.RLock()
	defer t.names.RUnlock()
	rel, err := t.place(dir, name)
	if err != nil {
		return nil, failName("create", dir, name, err)
	}
	want := wanted{desc: desc{kind: k}, mode: mode, uid: uid, gid: gid}
	first, _ := t.ownMode(mode&0o777, k)
	fd, err := t.openBeneath(rel, unix.O_RDONLY|unix.O_CREAT|unix.O_EXCL, first)
	if err != nil {
		return nil, failName("create", dir, name, err)
	}
	defer func() { _ = unix.Close(fd) }() // empty
	n, err := t.furnish(fd, dir, name, want)
	if err != nil {
		return nil, failName("create", dir, name, errors.Join(err, t.undo(rel, 0)))
	}
	return n, nil
}

// Mkdir makes a directory. In a setgid directory it takes that one's group, as
// everywhere.
func (t *Tree) Mkdir(dir *Node, name string, mode, uid, gid uint32) (*Node, error) {
	t.names.RLock()
	defer t.names.RUnlock()
	rel, err := t.place(dir, name)
	if err != nil {
		return nil, failName("mkdir", dir, name, err)
	}
	parent, err := dir.openLocked(unix.O_PATH | unix.O_DIRECTORY)
	if err != nil {
		return nil, failName("mkdir", dir, name, err)
	}
	defer func() { _ = unix.Close(parent) }() // a path only
	first, _ := t.ownMode(mode&0o777, Dir)
	if err = unix.Mkdirat(parent, name, first); err != nil {
		return nil, failName("mkdir", dir, name, err)
	}
	n, err := t.openFurnish(rel, dir, name, wanted{desc: desc{kind: Dir}, mode: mode, uid: uid, gid: gid})
	if err != nil {
		return nil, failName("mkdir", dir, name, errors.Join(err, t.undo(rel, unix.AT_REMOVEDIR)))
	}
	return n, nil
}

func (t *Tree) openFurnish(rel string, dir *Node, name string, want wanted) (*Node, error) {
	fd, err := t.openBeneath(rel, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }() // read only
	return t.furnish(fd, dir, name, want)
}

// undo removes what a failed create made. Nobody else knows of it yet.
func (t *Tree) undo(rel string, flags int) error {
	if err := unix.Unlinkat(t.fd(), rel, flags); err != nil {
		return fmt.Errorf("and remove it again: %w", err)
	}
	return nil
}

// wanted is what a new file or directory shall be.
type wanted struct {
	desc           desc
	mode, uid, gid uint32
}

// furnish describes a new file or directory, gives it owner and mode and enters
// it into the index. Under t.names, so that no name moves before it is known.
func (t *Tree) furnish(fd int, dir *Node, name string, want wanted) (*Node, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if st.Ino >= MaxIno {
		return nil, fmt.Errorf("inode number %d is too large: %w", st.Ino, unix.EOVERFLOW)
	}
	d := want.desc
	mode, gid, err := t.inherit(dir, &st, want)
	if err != nil {
		return nil, err
	}
	mode, d.mode = t.ownMode(mode, d.kind)
	var isNew bool
	if d.gen, isNew, err = t.generation(fd, 0); err != nil {
		return nil, err
	}
	n := &Node{t: t, id: ID{Ino: st.Ino, Gen: d.gen}, parent: dir, name: name}
	if !isNew {
		d.gen = 0
	}
	if d.kind == Dir {
		n.children = map[string]*Node{}
	}
	if d.kind != Dir || d.mode != 0 || d.gen != 0 {
		if err := writeDesc(fd, &d); err != nil {
			return nil, err
		}
	}
	if err := own(fd, &st, mode, want.uid, gid); err != nil {
		return nil, err
	}
	n.desc.Store(&d)
	n.metaAt.Store(t.clock.Add(1))
	n.nameAt.Store(n.metaAt.Load())
	t.enter(n)
	return n, nil
}

// inherit returns mode and group of something new in dir: a setgid directory
// gives its group on, and the bit to directories.
func (t *Tree) inherit(dir *Node, st *unix.Stat_t, want wanted) (mode, gid uint32, err error) {
	mode = want.mode & 0o7777
	var up unix.Stat_t
	if err := dir.lstatLocked(&up); err != nil {
		return 0, 0, err
	}
	if up.Mode&unix.S_ISGID == 0 {
		return mode, want.gid, nil
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		mode |= unix.S_ISGID
	}
	return mode, up.Gid, nil
}

// ownMode returns the permissions that the file itself gets, and what its
// description has to remember. Without privileges we must stay able to open
// what programs make read-only.
func (t *Tree) ownMode(mode uint32, k Kind) (real, note uint32) {
	least := uint32(0o600)
	if k == Dir {
		least = 0o700
	}
	if t.fs.allMight || mode&least == least {
		return mode, 0
	}
	return mode | least, mode | modeKnown
}

// own gives an open file owner and mode where they differ: the owner first,
// since changing it takes setuid bits away.
func own(fd int, st *unix.Stat_t, mode, uid, gid uint32) error {
	if st.Uid != uid || st.Gid != gid {
		if err := unix.Fchown(fd, int(uid), int(gid)); err != nil {
			return fmt.Errorf("chown to %d:%d: %w", uid, gid, err)
		}
	}
	if st.Mode&0o7777 != mode || mode&0o6000 != 0 {
		if err := unix.Fchmod(fd, mode); err != nil {
			return fmt.Errorf("chmod %04o: %w", mode, err)
		}
	}
	return nil
}

// enter makes a node known.
func (t *Tree) enter(n *Node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.nodes[n.id.Ino]; old != nil { // its file was taken away behind our back
		t.forget(old)
	}
	t.nodes[n.id.Ino] = n
	n.parent.children[n.name] = n
}

// forget takes a node out of the index, under t.mu.
func (t *Tree) forget(n *Node) {
	n.last = n.path()
	if n.parent != nil {
		delete(n.parent.children, n.name)
	}
	if t.nodes[n.id.Ino] == n {
		delete(t.nodes, n.id.Ino)
	}
	n.parent, n.state = nil, gone
}

// MkdirAll returns the directory of that path below the root, making what is
// missing of it with that mode and owner; without privileges the owner is who
// we are. Something else in its way is ENOTDIR.
func (t *Tree) MkdirAll(p string, mode, uid, gid uint32) (*Node, error) {
	dir := t.root
	if p == "" {
		return dir, nil
	}
	if !t.fs.allMight {
		uid, gid = uint32(os.Geteuid()), uint32(os.Getegid())
	}
	for name := range strings.SplitSeq(p, "/") {
		next, err := t.subdir(dir, name, mode, uid, gid)
		if err != nil {
			return nil, err
		}
		dir = next
	}
	return dir, nil
}

// subdir returns the directory of that name in dir, made if need be.
func (t *Tree) subdir(dir *Node, name string, mode, uid, gid uint32) (*Node, error) {
	next := t.Lookup(dir, name)
	if next == nil {
		made, err := t.Mkdir(dir, name, mode, uid, gid)
		if !errors.Is(err, unix.EEXIST) {
			return made, err
		}
		if next = t.Lookup(dir, name); next == nil { // somebody else made it, and it is gone again
			return nil, err
		}
	}
	if !next.isDir() {
		return nil, failName("mkdir", dir, name, unix.ENOTDIR)
	}
	return next, nil
}

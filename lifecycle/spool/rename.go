package spool

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Rename gives a file or directory another name, in the same directory or
// another. It never replaces: a taken name is EEXIST. What programs wrote so
// far is made durable before it changes directory, because what they write
// afterwards belongs elsewhere: after a power cut the border must not lie
// beyond the end of the file.
func (t *Tree) Rename(n, toDir *Node, toName string) error {
	if n.isDir() || n.Dir() != toDir {
		if err := t.settle(n); err != nil {
			return n.fail("rename", err)
		}
	}
	t.names.Lock()
	defer t.names.Unlock()
	if err := t.rename(n, toDir, toName); err != nil {
		return fmt.Errorf("spool: rename %q to %q in %q: %w", n.Path(), toName, toDir.Path(), err)
	}
	return nil
}

// rename is Rename under t.names.
func (t *Tree) rename(n, toDir *Node, toName string) error {
	to, err := t.place(toDir, toName)
	if err != nil {
		return err
	}
	if err := t.mayMove(n, toDir, toName, len(to)); err != nil {
		return err
	}
	if n.parent == toDir && n.name == toName {
		return nil
	}
	if err := t.move(n, toDir, toName); err != nil {
		return err
	}
	t.mu.Lock()
	delete(n.parent.children, n.name)
	n.parent, n.name = toDir, toName
	toDir.children[toName] = n
	t.mu.Unlock()
	n.nameAt.Store(t.clock.Add(1))
	return nil
}

// mayMove says what the kernel would say, and what it cannot know.
func (t *Tree) mayMove(n, toDir *Node, toName string, length int) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	switch {
	case n.state != named:
		return unix.ENOENT
	case n.parent == nil: // the root
		return unix.EBUSY
	}
	for d := toDir; d != nil; d = d.parent {
		if d == n {
			return unix.EINVAL
		}
	}
	if other := toDir.children[toName]; other != nil && other != n {
		return unix.EEXIST
	}
	if length+n.depth() > maxPath {
		return unix.ENAMETOOLONG
	}
	return nil
}

// depth is the length of the longest path below n, under t.mu.
func (n *Node) depth() int {
	longest := 0
	for _, c := range n.children {
		longest = max(longest, 1+len(c.name)+c.depth())
	}
	return longest
}

// move renames in the file system, under t.names.
func (t *Tree) move(n, toDir *Node, toName string) error {
	from, err := n.parent.openLocked(unix.O_PATH | unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(from) }() // a path only
	to := from
	if toDir != n.parent {
		if to, err = toDir.openLocked(unix.O_PATH | unix.O_DIRECTORY); err != nil {
			return err
		}
		defer func() { _ = unix.Close(to) }() // a path only
	}
	return unix.Renameat2(from, n.name, to, toName, unix.RENAME_NOREPLACE)
}

// fewFiles is up to how many files are synced one by one: more are cheaper
// with everything else on the file system.
const fewFiles = 16

// settle makes the bytes of a file, or of all files under a directory, durable.
func (t *Tree) settle(n *Node) error {
	files := t.below(n)
	if len(files) > fewFiles {
		return t.SyncAll()
	}
	for _, f := range files {
		if err := f.syncFile(); err != nil && !errors.Is(err, unix.ESTALE) { // gone meanwhile: nothing to keep
			return err
		}
	}
	return nil
}

// below returns n itself or the files under it.
func (t *Tree) below(n *Node) []*Node {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var files []*Node
	for todo := []*Node{n}; len(todo) > 0; {
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if c.children == nil {
			files = append(files, c)
		}
		for _, cc := range c.children {
			todo = append(todo, cc)
		}
	}
	return files
}

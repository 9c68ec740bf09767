package fusefs

import "fmt"

// A node id says by its two top bits what it names, and by the rest which:
// an id that an earlier worker gave out needs no table to be understood.
//
//	00  a file or directory of the spool, by inode number and generation; 1 is
//	    the root
//	01  the .sinkfs of one directory. One id for all of them would make the
//	    kernel move the one dentry at every use
//	10  a finished file, or a directory that only the store has, by catalog.Ino
//	11  a control file, shared by all directories, or the checkpoints
//	    directory of one .sinkfs
type space uint64

const (
	spaceSpool   space = 0
	spaceSinkfs  space = 1 << 62
	spaceStore   space = 2 << 62
	spaceControl space = 3 << 62

	spaceMask  uint64 = 3 << 62
	rootID     uint64 = 1
	inoBits           = 48        // of a spool inode number: spool.MaxIno
	genMask    uint32 = 1<<13 - 1 // what fits of a generation above it
	storeBelow uint64 = 1 << 61   // in spaceSinkfs: the directory is the store's
)

func spaceOf(id uint64) space { return space(id & spaceMask) }

// spoolID is the node id of a spool inode. Inode 1 takes the number of the
// root.
//
// A number that has come back names another file, and the kernel may still
// mean the one before: a program that found a name and is about to open it.
// The kernel refuses a known id with another generation to that program (EIO),
// and OPEN does not tell us the generation. So the id has some of it, and a
// stale one is answered with ESTALE, for which the kernel looks the name up
// again.
func spoolID(ino uint64, gen uint32, root uint64) uint64 {
	switch ino {
	case root:
		return rootID
	case rootID:
		ino = root
	}
	return uint64(gen&genMask)<<inoBits | ino
}

// spoolInode undoes spoolID.
func spoolInode(id, root uint64) (ino uint64, gen uint32) {
	ino, gen = id&(1<<inoBits-1), uint32(id>>inoBits)&genMask
	switch {
	case id == rootID:
		return root, 0
	case ino == root:
		return rootID, gen
	}
	return ino, gen
}

// shownIno is the inode number that programs see of a node: of the spool a
// small one, because a 32-bit program cannot stat a file with a larger.
func shownIno(id uint64) uint64 {
	if spaceOf(id) == spaceSpool {
		return id & (1<<inoBits - 1)
	}
	return id
}

// spoolIno is the inode that the kernel means; ESTALE when its number names
// another one now, or none.
func (f *FS) spoolIno(id uint64) (uint64, error) {
	ino, gen := spoolInode(id, f.root)
	now, err := f.in.Generation(ino)
	if err == nil && ino != f.root && now&genMask != gen {
		err = fmt.Errorf("node %x: %w", id, errUnknownNode)
	}
	return ino, err
}

// storeID is the node id of a key, from its catalog.Ino.
func storeID(ino uint64) uint64 { return uint64(spaceStore) | ino&^spaceMask }

// sinkfsID is the .sinkfs of the directory with node id dir.
func sinkfsID(dir uint64) uint64 {
	if spaceOf(dir) == spaceStore {
		return uint64(spaceSinkfs) | storeBelow | dir&(storeBelow-1)
	}
	return uint64(spaceSinkfs) | dir&(storeBelow-1)
}

// A control node is a kind in six bits and a number: the id of a manifest, or
// which .sinkfs a checkpoints directory is in.
const (
	controlShift = 56
	numberMask   = 1<<controlShift - 1
)

func controlID(k controlKind, number uint64) uint64 {
	return uint64(spaceControl) | uint64(k)<<controlShift | number&numberMask
}

func controlOf(id uint64) (k controlKind, number uint64) {
	return controlKind(id &^ spaceMask >> controlShift), id & numberMask
}

package fusefs

// A node id says by its two top bits what it names, and by the rest which:
// an id that an earlier worker gave out needs no table to be understood.
//
//	00  a file or directory of the spool, by inode number; 1 is the root
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
	storeBelow uint64 = 1 << 61 // in spaceSinkfs: the directory is the store's
)

func spaceOf(id uint64) space { return space(id & spaceMask) }

// spoolID is the node id of a spool inode, and the other way round: the root
// and inode 1 change places.
func spoolID(ino, root uint64) uint64 {
	switch ino {
	case root:
		return rootID
	case rootID:
		return root
	}
	return ino
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

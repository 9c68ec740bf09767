package catalog

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/sinkfs/sinkfs/backend"
)

// Ino returns the inode number of the object or directory at k: 62 bits of a
// hash of its name, so it is the same on every host, after every restart and
// in every version. The two top bits are zero, left to the caller to tell
// these numbers from others.
func Ino(k backend.Key) uint64 {
	sum := sha256.Sum256([]byte(k))
	return binary.BigEndian.Uint64(sum[:8]) >> 2
}

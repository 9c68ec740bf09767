package fusefs

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The memory that outlives a worker: what the kernel knows and nobody could
// derive again. It is written for a death at any instruction: a slot's fields
// are written first, then one atomic store publishes it, and one atomic store
// withdraws it.
const (
	memoryMagic   = 0x31304d4b4e4953 // "SINKM01"
	memoryVersion = 2

	handleSlots = 1 << 16
	inodeSlots  = 1 << 17
	keySlots    = 1 << 14
	opSlots     = 1 << 12
	lookSlots   = 1 << 10

	maxKey = 1032

	headerSize   = 4096
	handlesStart = headerSize
	inodesStart  = handlesStart + handleSlots*int(unsafe.Sizeof(handleSlot{}))
	opsStart     = inodesStart + inodeSlots*int(unsafe.Sizeof(inodeSlot{}))
	keysStart    = opsStart + opSlots*int(unsafe.Sizeof(opSlot{}))
	looksStart   = keysStart + keySlots*int(unsafe.Sizeof(keySlot{}))

	// MemorySize is how long Config.Memory must be. Only what is used is ever
	// touched, so a sparse mapping stays small.
	MemorySize = looksStart + lookSlots*int(unsafe.Sizeof(keySlot{}))
)

type header struct {
	magic   atomic.Uint64 // written last
	version uint32
	size    uint32 // MemorySize of the writer: another layout has another
	// The verdict of the probe belongs to the connection.
	passthrough atomic.Uint32
	nextOp      atomic.Uint32
	// How many slots of each table were ever used: reading one that was not
	// would give it a page.
	handles, inodes, keys, looks atomic.Uint32
}

// handleSlot is one open file or directory. fh is generation<<32 | index.
type handleSlot struct {
	state  atomic.Uint64 // generation<<32 | 1 while open, generation<<32 else
	unique uint64        // of the request that opened it: a resent one gets the same handle
	node   uint64
	pos    atomic.Int64  // where the next write of a stream handle is expected
	flags  uint32        // of open(2)
	bits   atomic.Uint32 // handleBits
	key    uint32        // key slot + 1 of a finished file
	uid    uint32
	_      uint64
}

// inodeSlot is what the connection knows of one spool inode.
type inodeSlot struct {
	ino     atomic.Uint64 // 0: free
	gen     uint32
	backing atomic.Int32 // id on this connection, 0: none
	// The note of the last daemon-path write of a stream. The kernel sends
	// one at a time for an inode, so one note is enough.
	unique atomic.Uint64
	size   atomic.Int64 // physical, before the write
	_      [24]byte
}

// opSlot notes a change of names before it is made.
type opSlot struct {
	unique atomic.Uint64
	op     uint32
	_      uint32
	ino    uint64
	_      uint64
}

// keySlot is the key behind a node id that is a hash.
type keySlot struct {
	node atomic.Uint64 // 0: free
	ino  atomic.Uint64 // spool directory that a store-only directory got since
	len  uint32
	dir  uint32 // 0: a file
	key  [maxKey]byte
}

// keyDead is the dir of a directory that was removed; 1 is that of the others.
const keyDead = 2

type memory struct {
	header  *header
	handles []handleSlot
	inodes  []inodeSlot
	ops     []opSlot
	keys    []keySlot
	// The finished files looked up last, round and round: whoever found one is
	// about to use it, and the kernel asks for a name a second time only once.
	looks []keySlot
}

// newMemory lays the tables over b, or over private memory when b is nil. It
// changes nothing in b.
func newMemory(b []byte) (*memory, error) {
	if b == nil {
		private, err := unix.Mmap(-1, 0, MemorySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return nil, err
		}
		b = private
	}
	if len(b) < MemorySize {
		return nil, fmt.Errorf("%d bytes, at least %d are needed", len(b), MemorySize)
	}
	base := unsafe.Pointer(unsafe.SliceData(b))
	if uintptr(base)%8 != 0 {
		return nil, fmt.Errorf("not aligned")
	}
	return &memory{
		header:  (*header)(base),
		handles: unsafe.Slice((*handleSlot)(unsafe.Add(base, handlesStart)), handleSlots),
		inodes:  unsafe.Slice((*inodeSlot)(unsafe.Add(base, inodesStart)), inodeSlots),
		ops:     unsafe.Slice((*opSlot)(unsafe.Add(base, opsStart)), opSlots),
		keys:    unsafe.Slice((*keySlot)(unsafe.Add(base, keysStart)), keySlots),
		looks:   unsafe.Slice((*keySlot)(unsafe.Add(base, looksStart)), lookSlots),
	}, nil
}

// check says whether the memory was written by a worker that laid it out as
// this one does.
func (m *memory) check() error {
	h := m.header
	switch {
	case h.magic.Load() != memoryMagic:
		return fmt.Errorf("the memory of the connection is empty, it cannot be taken over: mount anew")
	case h.version != memoryVersion || h.size != uint32(MemorySize) ||
		h.handles.Load() > handleSlots || h.inodes.Load() > inodeSlots || h.keys.Load() > keySlots || h.looks.Load() > lookSlots:
		return fmt.Errorf("the memory of the connection has version %d, this program knows %d: mount anew", h.version, memoryVersion)
	}
	return nil
}

// reset makes the memory that of a new connection. Slots that were never
// touched are not touched.
func (m *memory) reset() {
	h := m.header
	if h.magic.Swap(0) == memoryMagic {
		for i := range h.handles.Load() {
			// The generation stays, so that no handle of the connection before
			// is taken for a new one.
			m.handles[i].withdraw()
		}
		for i := range h.inodes.Load() {
			m.inodes[i].ino.Store(0)
		}
		for i := range h.keys.Load() {
			m.keys[i].node.Store(0)
		}
		for i := range h.looks.Load() {
			m.looks[i].node.Store(0)
		}
	}
	for i := range m.ops {
		m.ops[i].unique.Store(0)
	}
	for _, c := range []*atomic.Uint32{&h.passthrough, &h.nextOp, &h.handles, &h.inodes, &h.keys, &h.looks} {
		c.Store(0)
	}
	h.version, h.size = memoryVersion, uint32(MemorySize)
	h.magic.Store(memoryMagic)
}

// firstUnused hands out the slots of a table that were never used, in order.
// The mark moves before the slot is written. Its callers hold their table's
// lock.
func firstUnused(mark *atomic.Uint32, size int) (uint32, bool) {
	i := mark.Load()
	if int(i) >= size {
		return 0, false
	}
	mark.Store(i + 1)
	return i, true
}

// publish makes the slot an open handle, its fields having been written, and
// returns its generation.
func (s *handleSlot) publish() uint32 {
	gen := uint32(s.state.Load()>>32) + 1
	if gen == 0 {
		gen = 1
	}
	s.state.Store(uint64(gen)<<32 | 1)
	return gen
}

func (s *handleSlot) withdraw() { s.state.Store(s.state.Load() &^ 1) }

func (s *handleSlot) open() (gen uint32, ok bool) {
	v := s.state.Load()
	return uint32(v >> 32), v&1 != 0
}

// note remembers what the size was before the write with this unique.
func (s *inodeSlot) note(unique uint64, size int64) {
	s.unique.Store(0)
	s.size.Store(size)
	s.unique.Store(unique)
}

// noted is the size before the write with this unique, if it was noted.
func (s *inodeSlot) noted(unique uint64) (size int64, ok bool) {
	if s.unique.Load() != unique {
		return 0, false
	}
	return s.size.Load(), true
}

func (s *keySlot) set(node uint64, key string, dir bool) {
	s.node.Store(0)
	s.ino.Store(0)
	s.len, s.dir = uint32(copy(s.key[:], key)), 0
	if dir {
		s.dir = 1
	}
	s.node.Store(node)
}

func (s *keySlot) text() string { return string(s.key[:min(int(s.len), maxKey)]) }

// Bit 63 of a request's unique says that it was sent to an earlier worker
// too, which may have done it.
const resentBit = 1 << 63

func resent(unique uint64) bool { return unique&resentBit != 0 }

// Operations that note themselves before they change a name.
type operation uint32

const (
	opCreate operation = iota + 1
	opMkdir
	opUnlink
	opRmdir
	opRename
)

// begin notes that the request will change a name now: it was looked, and the
// change is possible. A resent request that finds its note knows that what it
// sees may be its own doing.
func (m *memory) begin(unique uint64, op operation, ino uint64) {
	s := &m.ops[(m.header.nextOp.Add(1)-1)%opSlots]
	s.unique.Store(0)
	s.op, s.ino = uint32(op), ino
	s.unique.Store(unique &^ resentBit)
}

// begun says whether an earlier worker began this request. Rare, so it looks
// at every note.
func (m *memory) begun(unique uint64, op operation) (ino uint64, ok bool) {
	if !resent(unique) {
		return 0, false
	}
	unique &^= resentBit
	for i := range m.ops {
		if s := &m.ops[i]; s.unique.Load() == unique && operation(s.op) == op {
			return s.ino, true
		}
	}
	return 0, false
}

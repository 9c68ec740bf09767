package fusefs

import (
	"sync"
	"sync/atomic"

	"github.com/sinkfs/sinkfs/lifecycle"
	"github.com/sinkfs/sinkfs/lifecycle/catalog"
)

// handleBits are what a handle is and may, kept in its slot.
type handleBits uint32

const (
	handleRead    handleBits = 1 << iota // counted as a reader
	handleWrite                          // counted as a writer
	handleAsFile                         // opened as file or scratch: writes go where they say
	handleNoRead                         // may write but not see
	handleDir                            // of OPENDIR
	handleWrote                          // pos is where its last write ended
	handleAtZero                         // the stream was empty since the handle's last write: 0 is its end too
	handleAdopted                        // opened by an earlier worker
	handleCached                         // reads and writes go through the page cache
)

// handle is one open file or directory in the kernel's hands. Its slot is all
// that a later worker gets to know; the rest can be made again.
type handle struct {
	slot *handleSlot
	fh   uint64
	node uint64

	file *openFile    // spool files
	key  string       // finished files
	ctl  *controlFile // control files
	dir  *listing     // directories, from the first READDIR on

	mu       sync.Mutex
	finished *catalog.File // from the first READ on
}

func (h *handle) bits() handleBits      { return handleBits(h.slot.bits.Load()) }
func (h *handle) has(b handleBits) bool { return h.bits()&b != 0 }
func (h *handle) set(b handleBits)      { h.slot.bits.Or(uint32(b)) }
func (h *handle) clear(b handleBits)    { h.slot.bits.And(^uint32(b)) }
func (h *handle) use() lifecycle.Use    { return useOf(h.bits()) }

func useOf(b handleBits) lifecycle.Use {
	return lifecycle.Use{Read: b&handleRead != 0, Write: b&handleWrite != 0}
}

// handleTable finds handles by fh. The list of free slots is not shared: it
// is what the slots say.
type handleTable struct {
	mem  *memory
	live []atomic.Pointer[handle] // by slot

	mu   sync.Mutex
	free []uint32
}

func newHandleTable(m *memory) *handleTable {
	return &handleTable{mem: m, live: make([]atomic.Pointer[handle], len(m.handles))}
}

func (t *handleTable) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.free = nil
}

// opening are the fields of a slot to be.
type opening struct {
	unique uint64
	node   uint64
	flags  uint32
	bits   handleBits
	key    uint32
	uid    uint32
}

// open publishes a handle; errTooMany when all slots are taken.
func (t *handleTable) open(o opening, h *handle) error {
	i, ok := t.take()
	if !ok {
		return errTooMany
	}
	s := &t.mem.handles[i]
	s.unique, s.node, s.flags, s.key, s.uid = o.unique&^resentBit, o.node, o.flags, o.key, o.uid
	s.pos.Store(0)
	s.bits.Store(uint32(o.bits))
	h.slot, h.node = s, o.node
	h.fh = uint64(s.publish())<<32 | uint64(i)
	t.live[i].Store(h)
	return nil
}

func (t *handleTable) take() (uint32, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.free); n > 0 {
		i := t.free[n-1]
		t.free = t.free[:n-1]
		return i, true
	}
	return firstUnused(&t.mem.header.handles, len(t.mem.handles))
}

// get is nil for a handle that was never given out or is closed.
func (t *handleTable) get(fh uint64) *handle {
	i := uint32(fh)
	if int(i) >= len(t.live) {
		return nil
	}
	h := t.live[i].Load()
	if h == nil || h.fh != fh {
		return nil
	}
	return h
}

// close withdraws the slot. The caller has given back what the handle counts.
func (t *handleTable) close(h *handle) {
	i := uint32(h.fh)
	if !t.live[i].CompareAndSwap(h, nil) {
		return
	}
	h.slot.withdraw()
	t.mu.Lock()
	t.free = append(t.free, i)
	t.mu.Unlock()
}

// ofRequest is the handle that an earlier worker opened for this request
// without having answered it.
func (t *handleTable) ofRequest(unique uint64) *handle {
	if !resent(unique) {
		return nil
	}
	unique &^= resentBit
	for i := range t.live {
		if h := t.live[i].Load(); h != nil && h.has(handleAdopted) && h.slot.unique == unique {
			return h
		}
	}
	return nil
}

// adopt makes a handle of every published slot.
func (t *handleTable) adopt() []*handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []*handle
	t.free = nil
	for i := range t.mem.header.handles.Load() {
		s := &t.mem.handles[i]
		gen, ok := s.open()
		if !ok {
			t.free = append(t.free, i)
			continue
		}
		h := &handle{slot: s, node: s.node, fh: uint64(gen)<<32 | uint64(i)}
		h.set(handleAdopted)
		t.live[i].Store(h)
		out = append(out, h)
	}
	return out
}

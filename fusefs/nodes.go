package fusefs

import (
	"strings"
	"sync"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle/catalog"
)

// storeNode is a node of the store: a finished file, or a directory that only
// the store has. The kernel knows it by a hash of its key.
type storeNode struct {
	key    string
	dir    bool
	refs   uint64    // lookups that the kernel has not taken back
	left   time.Time // when it had taken back all
	pinned bool      // from an earlier worker: how many lookups is not known
	info   *backend.Info
	ref    uint32 // of directories: the next worker must know their key too
	look   uint32 // of files: slot + 1 of the latest lookup, if it has not been used anew
	ino    uint64 // of directories: the spool directory that it got since
	dead   bool   // a directory that was removed; the kernel may still have it open
}

// lookupsDoubt is how long a node stays after its last FORGET where the count
// of lookups can be wrong: one use by a program ends well before, and the next
// one after this long begins with a lookup (finishedName).
const lookupsDoubt = 2 * finishedName

// nodeTable holds the store's nodes that the kernel knows. FORGET bounds it.
//
// A FORGET may count lookups that an earlier worker answered, and may be about
// an inode that the kernel dropped just before it looked the name up again:
// after a take-over the count says less than it seems.
type nodeTable struct {
	now func() time.Time

	mu      sync.Mutex
	byID    map[uint64]*storeNode
	byIno   map[uint64]uint64 // spool directories that the kernel knows by a store node
	mem     *memory
	keyFree []uint32
	adopted bool
	parting []parting // forgotten, oldest first
	look    uint32    // the next of the memory's looks
}

type parting struct {
	id uint64
	at time.Time
}

func (t *nodeTable) init(m *memory) {
	t.byID, t.byIno, t.mem, t.now = map[uint64]*storeNode{}, map[uint64]uint64{}, m, time.Now
}

// seen counts a lookup of the finished file or store-only directory at key.
func (t *nodeTable) seen(key string, info backend.Info) (id uint64) {
	id = storeID(catalog.Ino(backend.Key(key)))
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byID[id]
	for n != nil && (n.ino != 0 || n.dead) { // the kernel knows one by this id that was renamed or removed
		id = storeID(id + 1)
		n = t.byID[id]
	}
	if n == nil {
		n = &storeNode{key: key}
		t.byID[id] = n
	}
	if info.Dir && n.ref == 0 {
		n.ref = t.take(id, key, true)
	}
	n.dir = info.Dir
	n.refs++
	if !info.Dir {
		info.Meta = nil
		n.info = &info
		t.remember(id, n)
	}
	return id
}

// remember notes a file for the next worker.
func (t *nodeTable) remember(id uint64, n *storeNode) {
	looks := t.mem.looks
	if n.look != 0 && looks[n.look-1].node.Load() == id || len(n.key) > maxKey {
		return
	}
	i := t.look
	t.look = (i + 1) % uint32(len(looks))
	if mark := &t.mem.header.looks; mark.Load() <= i {
		mark.Store(i + 1)
	}
	looks[i].set(id, n.key, false)
	n.look = i + 1
}

// get is what the kernel means by a store node id; ok is false for one that
// this worker does not know.
func (t *nodeTable) get(id uint64) (n storeNode, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.byID[id]
	if p == nil || p.dead {
		return storeNode{}, false
	}
	return *p, true
}

// again counts a lookup of a directory by its store node although the spool
// has it now: its id stays while the kernel knows it. ok is false when the
// kernel does not know it that way.
func (t *nodeTable) again(ino uint64) (id uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id, ok = t.byIno[ino]
	if ok {
		t.byID[id].refs++
	}
	return id, ok
}

// alias is the node id of a spool directory that the kernel knows by a store
// node.
func (t *nodeTable) alias(ino uint64) (id uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id, ok = t.byIno[ino]
	return id, ok
}

// became says that a store-only directory has a spool directory from now on.
func (t *nodeTable) became(id, ino uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byID[id]
	if n == nil || n.dead || n.ino == ino {
		return
	}
	delete(t.byIno, n.ino)
	n.ino = ino
	t.byIno[ino] = id
	if n.ref != 0 {
		t.mem.keys[n.ref-1].ino.Store(ino)
	}
}

// gone says that a spool directory is no more.
func (t *nodeTable) gone(ino uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id, ok := t.byIno[ino]
	if !ok {
		return
	}
	delete(t.byIno, ino)
	n := t.byID[id]
	n.ino = 0
	t.bury(n)
}

// goneStored says that the directories which only the store had at a key and
// below it are no more, or not under the names that the kernel knows.
func (t *nodeTable) goneStored(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.byID {
		if n.dir && n.ino == 0 && (n.key == key || strings.HasPrefix(n.key, key+"/")) {
			t.bury(n)
		}
	}
}

// bury keeps the id of a directory from being another's while the kernel may
// use it.
func (t *nodeTable) bury(n *storeNode) {
	n.dead = true
	if n.ref != 0 { // the next worker keeps it from that, too
		t.mem.keys[n.ref-1].dir = keyDead
		t.mem.keys[n.ref-1].ino.Store(0)
	}
}

// find is the id by which the kernel knows a directory that only the store has.
func (t *nodeTable) find(key string) (id uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, n := range t.byID { // one that was in the way once may be forgotten since
		if n.dir && n.key == key && n.ino == 0 && !n.dead {
			return id, true
		}
	}
	return 0, false
}

// forget takes lookups back.
func (t *nodeTable) forget(id, lookups uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byID[id]
	if n == nil || n.pinned {
		return
	}
	n.refs -= min(lookups, n.refs)
	if n.refs > 0 {
		return
	}
	n.left = t.now()
	t.parting = append(t.parting, parting{id, n.left})
	for len(t.parting) > 0 && (!t.adopted || n.left.Sub(t.parting[0].at) > lookupsDoubt) {
		t.forgotten(t.parting[0])
		t.parting = t.parting[1:]
	}
}

func (t *nodeTable) forgotten(p parting) {
	id, n := p.id, t.byID[p.id]
	if n == nil || n.refs > 0 || n.left != p.at {
		return
	}
	delete(t.byID, id)
	if n.ino != 0 {
		delete(t.byIno, n.ino)
	}
	t.drop(n.ref)
}

// hold keeps the key of an open finished file in the memory: the reference,
// 0 when there is no room. Without it the next worker answers ESTALE.
func (t *nodeTable) hold(id uint64, key string) (ref uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.take(id, key, false)
}

// release gives a reference of hold back.
func (t *nodeTable) release(ref uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(ref)
}

func (t *nodeTable) take(id uint64, key string, dir bool) (ref uint32) {
	if len(key) > maxKey {
		return 0
	}
	var i uint32
	if n := len(t.keyFree); n > 0 {
		i = t.keyFree[n-1]
		t.keyFree = t.keyFree[:n-1]
	} else {
		var ok bool
		if i, ok = firstUnused(&t.mem.header.keys, len(t.mem.keys)); !ok {
			return 0
		}
	}
	t.mem.keys[i].set(id, key, dir)
	return i + 1
}

func (t *nodeTable) drop(ref uint32) {
	if ref != 0 {
		t.mem.keys[ref-1].node.Store(0)
		t.keyFree = append(t.keyFree, ref-1)
	}
}

// adopt knows the directories again that an earlier worker named to the
// kernel, and the files that it named last. held are the references of open
// handles.
func (t *nodeTable) adopt(held map[uint32]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.adopted = true
	for i := range t.mem.header.looks.Load() {
		s := &t.mem.looks[i]
		if id := s.node.Load(); id != 0 {
			t.byID[id] = &storeNode{key: s.text(), look: i + 1}
		}
	}
	for i := range t.mem.header.keys.Load() {
		s, ref := &t.mem.keys[i], i+1
		id := s.node.Load()
		switch {
		case id != 0 && s.dir != 0:
			n := &storeNode{key: s.text(), dir: true, pinned: true, ref: ref, ino: s.ino.Load(), dead: s.dir == keyDead}
			t.byID[id] = n
			if n.ino != 0 {
				t.byIno[n.ino] = id
			}
		case id == 0 || !held[ref]:
			s.node.Store(0)
			t.keyFree = append(t.keyFree, i)
		case t.byID[id] == nil: // of an open file
			t.byID[id] = &storeNode{key: s.text()}
		}
	}
}

// keyOf is the key of a reference that an earlier worker held.
func (t *nodeTable) keyOf(ref uint32) string {
	if ref == 0 || int(ref) > len(t.mem.keys) {
		return ""
	}
	return t.mem.keys[ref-1].text()
}

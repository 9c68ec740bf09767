package fusefs

import (
	"fmt"
	"os"
	"sync"
	"syscall"
)

// openFile is one spool file with handles on this connection. Descriptors are
// opened when the daemon itself must read or write, and no writing one is
// kept after the last writer: the lifecycle takes it for one.
type openFile struct {
	fs   *FS
	ino  uint64
	slot *inodeSlot

	mu     sync.Mutex // of the descriptors, and of daemon-path writes
	reads  *os.File
	writes *os.File // at any offset
	adds   *os.File // O_APPEND: nothing of a stream can be overwritten through it

	// Guarded by the table's lock.
	handles map[*handle]bool // false until it has its slot
	writers int
	cached  int // handles in the page cache: then all of the inode are
}

type fileTable struct {
	mu    sync.Mutex
	byIno map[uint64]*openFile
}

// acquire joins a handle to its inode; bits are those that it will have.
func (t *fileTable) acquire(f *FS, h *handle, ino uint64, gen uint32, bits handleBits) (*openFile, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	file := t.byIno[ino]
	if file == nil {
		slot, err := f.back.slot(ino, gen)
		if err != nil {
			return nil, err
		}
		file = &openFile{fs: f, ino: ino, slot: slot, handles: map[*handle]bool{}}
		t.byIno[ino] = file
	}
	file.handles[h] = h.slot != nil // an adopted one has it
	if bits&handleWrite != 0 {
		file.writers++
	}
	if bits&handleCached != 0 {
		file.cached++
	}
	return file, nil
}

// release takes the handle away from its inode and closes what nobody needs.
func (t *fileTable) release(f *FS, h *handle, bits handleBits) {
	file := h.file
	t.mu.Lock()
	delete(file.handles, h)
	if bits&handleWrite != 0 {
		file.writers--
	}
	if bits&handleCached != 0 {
		file.cached--
	}
	noWriter, last := file.writers == 0, len(file.handles) == 0
	if last {
		delete(t.byIno, file.ino)
		f.back.idle(file.ino)
	}
	t.mu.Unlock()
	if noWriter {
		file.closeWriters(t)
	}
	if last {
		file.mu.Lock()
		closeFile(&file.reads)
		file.mu.Unlock()
	}
}

func (o *openFile) closeWriters(t *fileTable) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t.mu.Lock()
	again := o.writers > 0
	t.mu.Unlock()
	if !again {
		closeFile(&o.writes)
		closeFile(&o.adds)
	}
}

func closeFile(f **os.File) {
	if *f != nil {
		// Nothing was buffered, so there is nothing to report.
		_ = (*f).Close()
		*f = nil
	}
}

// emptied tells the handles of a stream that it begins anew: offset 0 is its
// end for each of them, whatever others append meanwhile.
func (t *fileTable) emptied(ino uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if file := t.byIno[ino]; file != nil {
		for h, opened := range file.handles {
			if opened {
				h.set(handleAtZero)
			}
		}
	}
}

// opened says that a handle has its slot. base is what it was when the handle
// was begun: a stream that was emptied since begins anew for it too.
func (t *fileTable) opened(f *FS, h *handle, base int64) {
	t.mu.Lock()
	h.file.handles[h] = true
	t.mu.Unlock()
	if now, _ := f.in.Extent(h.file.ino); now != base {
		h.set(handleAtZero)
	}
}

func (t *fileTable) open(ino uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byIno[ino] != nil
}

// descriptor opens one of the three descriptors unless it is open. o.mu is
// held.
func (o *openFile) descriptor(f **os.File, flags int) (int, error) {
	if *f == nil {
		opened, err := o.fs.in.Descriptor(o.ino, flags|syscall.O_CLOEXEC)
		if err != nil {
			return -1, fmt.Errorf("spool file: %w", err)
		}
		*f = opened
	}
	return int((*f).Fd()), nil
}

// reader is the descriptor for reads, which stays open as long as any handle.
func (o *openFile) reader() (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.descriptor(&o.reads, syscall.O_RDONLY)
}

package fusefs

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func TestMemoryLayout(t *testing.T) {
	for what, size := range map[string]uintptr{
		"handle": unsafe.Sizeof(handleSlot{}), "inode": unsafe.Sizeof(inodeSlot{}), "op": unsafe.Sizeof(opSlot{}), "key": unsafe.Sizeof(keySlot{}),
	} {
		if size%8 != 0 {
			t.Errorf("%s slots of %d bytes are not aligned", what, size)
		}
	}
	if unsafe.Sizeof(header{}) > headerSize || MemorySize > 64<<20 {
		t.Errorf("header %d, all %d", unsafe.Sizeof(header{}), MemorySize)
	}
	if _, err := newMemory(make([]byte, 4096)); err == nil {
		t.Error("a memory that is too small was taken")
	}
}

func TestMemoryOfAnotherLayoutIsRefused(t *testing.T) {
	m, err := newMemory(nil)
	if err != nil {
		t.Fatal(err)
	}
	if m.check() == nil {
		t.Error("an empty memory was taken over")
	}
	m.reset()
	if err := m.check(); err != nil {
		t.Error(err)
	}
	m.header.size++
	if m.check() == nil {
		t.Error("another layout was taken over")
	}
}

// TestHandleTableAgainstAModel opens and closes handles, and replaces the
// worker at any time.
func TestHandleTableAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, err := newMemory(nil)
		if err != nil {
			t.Fatal(err)
		}
		m.reset()
		table := newHandleTable(m)
		open, closed := map[uint64]uint64{}, map[uint64]bool{}
		unique := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"open": func(t *rapid.T) {
				node := rapid.Uint64().Draw(t, "node")
				h := &handle{}
				unique++
				if err := table.open(opening{node: node, unique: unique}, h); err != nil {
					t.Fatal(err)
				}
				if _, known := open[h.fh]; known || closed[h.fh] {
					t.Fatalf("fh %x was given out before", h.fh)
				}
				open[h.fh] = node
			},
			"close": func(t *rapid.T) {
				if len(open) == 0 {
					t.Skip("none open")
				}
				fh := rapid.SampledFrom(keys(open)).Draw(t, "fh")
				table.close(table.get(fh))
				delete(open, fh)
				closed[fh] = true
			},
			"replace the worker": func(*rapid.T) {
				table = newHandleTable(m)
				for _, h := range table.adopt() {
					// A request that was not answered gets the handle it made.
					if table.ofRequest(h.slot.unique|resentBit) != h || table.ofRequest(h.slot.unique) != nil {
						t.Fatalf("the request of %x does not find it", h.fh)
					}
				}
			},
			"": func(t *rapid.T) {
				for fh, node := range open {
					if h := table.get(fh); h == nil || h.slot.node != node {
						t.Fatalf("fh %x is %v, want node %x", fh, h, node)
					}
				}
				for fh := range closed {
					if table.get(fh) != nil {
						t.Fatalf("fh %x is closed and answers", fh)
					}
				}
			},
		})
	})
}

func keys(m map[uint64]uint64) []uint64 {
	var out []uint64
	for k := range m {
		out = append(out, k)
	}
	return out
}

func TestOpNotes(t *testing.T) {
	m, err := newMemory(nil)
	if err != nil {
		t.Fatal(err)
	}
	m.reset()
	m.begin(42, opCreate, 7)
	if _, ok := m.begun(42, opCreate); ok {
		t.Error("a request that was not resent was begun")
	}
	if ino, ok := m.begun(42|resentBit, opCreate); !ok || ino != 7 {
		t.Errorf("begun %v %d", ok, ino)
	}
	if _, ok := m.begun(42|resentBit, opMkdir); ok {
		t.Error("another operation was begun")
	}
	if _, ok := m.begun(43|resentBit, opCreate); ok {
		t.Error("another request was begun")
	}
}

// TestKilledInTheMiddle: a process that does nothing but write the memory is
// killed at any instant; what it leaves is whole.
func TestKilledInTheMiddle(t *testing.T) {
	const env = "SINKFS_TEST_SCRIBBLE"
	if fd, err := strconv.Atoi(os.Getenv(env)); err == nil {
		scribble(fd)
	}
	for range 8 {
		fd, err := unix.MemfdCreate("memory", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "memory")
		if err := f.Truncate(int64(MemorySize)); err != nil {
			t.Fatal(err)
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestKilledInTheMiddle$")
		cmd.Env = append(os.Environ(), env+"=3")
		cmd.ExtraFiles = []*os.File{f, w}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		checkScribbles(t, mapMemory(t, fd))
		for _, c := range []*os.File{f, r, w} {
			_ = c.Close()
		}
	}
}

func mapMemory(t *testing.T, fd int) *memory {
	b, err := unix.Mmap(fd, 0, MemorySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	m, err := newMemory(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// scribble opens and closes handles whose fields all say the same, and notes
// writes whose size is their unique.
func scribble(fd int) {
	b, err := unix.Mmap(fd, 0, MemorySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		os.Exit(1)
	}
	m, err := newMemory(b)
	if err != nil {
		os.Exit(1)
	}
	m.reset()
	table := newHandleTable(m)
	var last []*handle
	for i := uint64(1); ; i++ {
		h := &handle{}
		if table.open(opening{unique: i, node: i, flags: uint32(i), uid: uint32(i)}, h) != nil {
			os.Exit(1)
		}
		if last = append(last, h); len(last) > 100 {
			table.close(last[i%100])
			last[i%100] = last[100]
			last = last[:100]
		}
		m.inodes[0].note(i, int64(i))
		m.begin(i, opCreate, i)
		if i == 1000 {
			_, _ = unix.Write(4, []byte{0})
		}
	}
}

func checkScribbles(t *testing.T, m *memory) {
	t.Helper()
	if err := m.check(); err != nil {
		t.Fatal(err)
	}
	open := newHandleTable(m).adopt()
	if len(open) < 90 || len(open) > 102 {
		t.Errorf("%d handles", len(open))
	}
	for _, h := range open {
		if s := h.slot; s.unique != s.node || uint64(s.flags) != s.node || uint64(s.uid) != s.node || s.node == 0 {
			t.Errorf("a torn handle: %d %d %d %d", s.unique, s.node, s.flags, s.uid)
		}
	}
	if u := m.inodes[0].unique.Load(); u != 0 && m.inodes[0].size.Load() != int64(u) {
		t.Errorf("a torn note: %d %d", u, m.inodes[0].size.Load())
	}
	for i := range m.ops {
		if s := &m.ops[i]; s.unique.Load() != 0 && s.unique.Load() != s.ino {
			t.Errorf("a torn operation: %d %d", s.unique.Load(), s.ino)
		}
	}
}

package conn

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A kill must not make the kernel fault a page in.
func TestReadBuffersAreResident(t *testing.T) {
	pagemap, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Fatal(err)
	}
	defer pagemap.Close()
	var b buffers
	b.init(1 << 20)
	for n := range keptLarge + 2 {
		buf, err := b.get(nil)
		if err != nil || len(buf) < 1<<20 {
			t.Fatalf("buffer %d is of %d bytes: %v", n, len(buf), err)
		}
		page := uintptr(os.Getpagesize())
		for i := uintptr(0); i < uintptr(len(buf)); i += page {
			var entry [8]byte
			at := (uintptr(unsafe.Pointer(&buf[0])) + i) / page
			if _, err := pagemap.ReadAt(entry[:], int64(at*8)); err != nil {
				t.Fatal(err)
			}
			if binary.NativeEndian.Uint64(entry[:])>>63 == 0 {
				t.Fatalf("buffer %d: page %d is not in memory", n, i/page)
			}
		}
		defer b.put(buf)
	}
}

// A caller that reads events holds its answer for as long as nothing happens.
func TestAnswersAreAsLongAsAsked(t *testing.T) {
	var b buffers
	b.init(1 << 20)
	for _, n := range []int{10_000, 128<<10 + answerSize, 128<<10 + answerSize + 1, 1<<20 + answerSize, 5 << 20} {
		for range 3 {
			buf := b.answer(n)
			if len(buf) != n || n <= 128<<10+answerSize && cap(buf) > 160<<10 {
				t.Fatalf("an answer of %d bytes is %d of %d", n, len(buf), cap(buf))
			}
			defer b.putAnswer(buf)
			b.putAnswer(b.answer(n))
		}
	}
}

func TestNoMemoryIsWaitedFor(t *testing.T) {
	var b buffers
	b.init(1 << 20)
	b.size = 1 << 60 // more than there is
	over, tries := errors.New("over"), 0
	giveUp := func(wrong error) error {
		if tries++; !errors.Is(wrong, unix.ENOMEM) {
			t.Errorf("try %d: %v", tries, wrong)
		}
		if tries == 3 {
			return over
		}
		return nil
	}
	if _, err := b.get(giveUp); !errors.Is(err, over) || tries != 3 {
		t.Fatalf("after %d tries: %v", tries, err)
	}
	tries, b.size = 0, 1<<20
	for range mostLarge { // each has a place, also after that
		buf, err := b.get(giveUp)
		if err != nil {
			t.Fatal(err)
		}
		defer b.put(buf)
	}
	if tries > 0 {
		t.Errorf("%d tries", tries)
	}
}

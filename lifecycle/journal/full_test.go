package journal_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sinkfs/sinkfs/internal/testfs"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// childFull fills the disk beneath an open journal and prints what becomes of
// it. It is a process of its own because Badger dies of a full disk.
func childFull(dir string) error {
	ballast := filepath.Join(filepath.Dir(dir), "ballast")
	j, err := journal.Open(journal.Options{Dir: dir})
	if err != nil {
		return err
	}
	n := uint64(0)
	// freed waits for space: XFS gives it back some time after the unlink.
	freed := func() error {
		err := os.Remove(ballast)
		for err == nil || errors.Is(err, journal.ErrFull) {
			if err = j.Write(journal.Counter{Sink: "/", Next: n}); err == nil {
				return nil
			}
		}
		return err
	}
	write := func(text string) error {
		err := j.Write(journal.Counter{Sink: "/", Next: n + 1}, journal.Checkpoint{ID: n % 50, Error: text})
		if err == nil {
			n++
		}
		return err
	}
	for range 4 {
		for i := range uint64(40) {
			// Small ones: while Badger merges tables, a disk that is filled
			// within the merge kills the process, and the next one goes on.
			if err := write(noise(i)[:1<<10]); err != nil {
				return fmt.Errorf("with space: %w", err)
			}
		}
		filled := make(chan error, 1)
		go func() { filled <- fillDisk(ballast) }()
		for err = nil; err == nil; { // another writer takes all there is meanwhile
			err = write("small")
		}
		if ferr := <-filled; ferr != nil {
			return ferr
		}
		if err := wantFull(err, j.Mark(journal.Counter{Sink: "/", Next: 1 << 40})); err != nil {
			return err
		}
		if err := freed(); err != nil {
			return err
		}
	}
	if err := write("with space again"); err != nil {
		return err
	}
	if err := fillDisk(ballast); err != nil {
		return err
	}
	_, openErr := journal.Open(journal.Options{Dir: filepath.Join(filepath.Dir(dir), "other")})
	if err := wantFull(write("full"), j.Close(), openErr); err != nil {
		return err
	}
	if err := os.Remove(ballast); err != nil {
		return err
	}
	fmt.Println(n)
	return nil
}

func wantFull(errs ...error) error {
	for _, err := range errs {
		if !errors.Is(err, journal.ErrFull) || !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("on a full disk: got %w, want ErrFull", err)
		}
	}
	return nil
}

// fillDisk takes all space there is, down to root's reserve and beyond.
func fillDisk(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	b := make([]byte, 64<<10)
	for err == nil {
		_, err = f.Write(b)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return f.Close()
}

func TestFullDiskIsAnErrorAndPasses(t *testing.T) {
	for _, kind := range []testfs.Kind{testfs.Tmpfs, testfs.Ext4, testfs.XFS} {
		t.Run(string(kind), func(t *testing.T) {
			dir := filepath.Join(testfs.New(t, kind, 100), "journal")
			out, err := child(t, "full", dir).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			j := open(t, dir)
			for _, r := range loadAll(t, j) {
				if c, ok := r.(journal.Counter); ok {
					if got, want := fmt.Sprint(c.Next), strings.TrimSpace(string(out)); got != want {
						t.Errorf("after the disk was full: counter is %s, want %s", got, want)
					}
				}
			}
			must(t, j.Close())
		})
	}
}

package journal_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sinkfs/sinkfs/internal/testfs"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// childFull fills the disk beneath an open journal and prints the number of
// each write that is acknowledged. It is a process of its own because Badger
// dies of a disk that another writer fills while it makes a table.
func childFull(dir string) error {
	ballast := filepath.Join(filepath.Dir(dir), "ballast")
	j, err := journal.Open(journal.Options{Dir: dir})
	if err != nil {
		return err
	}
	n, err := countOf(j)
	if err != nil {
		return err
	}
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
			fmt.Println(n)
		}
		return err
	}
	for range 4 {
		for i := range uint64(40) {
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
	return os.Remove(ballast)
}

// countOf is the number of the last write that the journal has.
func countOf(j *journal.Journal) (uint64, error) {
	n := uint64(0)
	err := j.Load(func(r journal.Record) error {
		if c, ok := r.(journal.Counter); ok {
			n = c.Next
		}
		return nil
	})
	return n, err
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

// TestFullDiskIsAnErrorAndPasses: a write on a full disk is ErrFull, and the
// same write succeeds once there is space. Where Badger dies of it instead,
// the next process finds every write that was acknowledged, and goes on.
func TestFullDiskIsAnErrorAndPasses(t *testing.T) {
	for _, kind := range []testfs.Kind{testfs.Tmpfs, testfs.Ext4, testfs.XFS} {
		t.Run(string(kind), func(t *testing.T) {
			dir := filepath.Join(testfs.New(t, kind, 100), "journal")
			for died, passed := 0, false; !passed; died++ {
				if died > 20 {
					t.Fatal("Badger dies of every full disk")
				}
				var out, stderr strings.Builder
				c := child(t, "full", dir)
				c.Stdout, c.Stderr = &out, &stderr
				err := c.Run()
				if passed = err == nil; !passed && !strings.Contains(stderr.String(), "SIGBUS") {
					t.Fatalf("%v: %s%s", err, lastLine(out.String()), stderr.String())
				}
				if err := os.RemoveAll(filepath.Join(filepath.Dir(dir), "ballast")); err != nil {
					t.Fatal(err)
				}
				wantAcknowledged(t, dir, out.String(), passed)
			}
		})
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// wantAcknowledged compares what the journal has with what the child printed:
// one that died may have had one more write under way.
func wantAcknowledged(t *testing.T, dir, printed string, all bool) {
	t.Helper()
	j := open(t, dir)
	got, err := countOf(j)
	must(t, err)
	must(t, j.Close())
	acknowledged := lastLine(printed)
	if acknowledged == "" {
		return // it died before its first write
	}
	want, err := strconv.ParseUint(acknowledged, 10, 64)
	must(t, err)
	if got != want && (all || got != want+1) {
		t.Fatalf("after the disk was full: write %d is there, want %d", got, want)
	}
}

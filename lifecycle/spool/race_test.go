package spool_test

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/internal/testfs"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// TestRenameUnderneath: calls on a node do not fail and do not reach another
// one's file while it, or a directory above it, gets another name.
func TestRenameUnderneath(t *testing.T) {
	tree := open(t, testfs.New(t, testfs.Tmpfs, 64))
	a, b := mkdirAll(t, tree, "a"), mkdirAll(t, tree, "b")
	d := mkdirAll(t, tree, "a/d")
	one := create(t, tree, d, "one", spool.File)
	two := create(t, tree, d, "two", spool.File)
	add(t, one, "1")
	add(t, two, "22")

	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		for n, want := range map[*spool.Node]int64{one: 1, two: 2} {
			wg.Go(func() {
				for !stop.Load() {
					if err := check(n, want); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	for i := range 2000 {
		var err error
		switch i % 4 {
		case 0: // the two swap names
			err = errors.Join(tree.Rename(one, d, "tmp"), tree.Rename(two, d, "one"), tree.Rename(one, d, "two"))
		case 1:
			err = tree.Rename(d, b, "d")
		case 2:
			err = errors.Join(tree.Rename(one, d, "tmp"), tree.Rename(two, d, "two"), tree.Rename(one, d, "one"))
		case 3:
			err = tree.Rename(d, a, "d")
		}
		if err != nil {
			t.Error(err)
			break
		}
	}
	stop.Store(true)
	wg.Wait()
}

func check(n *spool.Node, want int64) error {
	if size, err := n.Size(); err != nil || size != want {
		return fmt.Errorf("size %d, %w; want %d", size, err, want)
	}
	if err := errors.Join(n.SetBase(want), n.Sync(), n.Idle()); err != nil {
		// The other goroutine of this node may hold it open for writing.
		if !errors.Is(err, spool.ErrBusy) {
			return err
		}
	}
	f, err := n.Open(os.O_RDWR)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil && st.Size() != want {
		err = fmt.Errorf("opened a file of %d bytes, want %d", st.Size(), want)
	}
	return errors.Join(err, f.Close())
}

// TestCreateUnderneath: names come and go from many goroutines; index and disk
// agree afterwards.
func TestCreateUnderneath(t *testing.T) {
	dir := testfs.New(t, testfs.Tmpfs, 64)
	tree := open(t, dir)
	d := mkdirAll(t, tree, "d")
	var wg sync.WaitGroup
	var made atomic.Int32
	for g := range 4 {
		wg.Go(func() {
			for i := range 300 {
				if err := churn(tree, d, fmt.Sprintf("f%d", i%7), (g+i)%3, &made); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for i := range 300 {
			if err := tree.Rename(d, tree.Root(), fmt.Sprintf("d%d", i)); err != nil {
				t.Error(err)
			}
			tree.All()
			tree.Children(d)
		}
	})
	wg.Wait()
	if made.Load() < 100 {
		t.Errorf("only %d files made: the test tests nothing", made.Load())
	}
	want := lines(t, tree)
	if got := lines(t, reopen(t, tree, dir)); len(got) != len(want) {
		t.Errorf("%d nodes after restart, %d before", len(got), len(want))
	}
}

// churn makes a name and takes one away, by the one way or the other.
func churn(tree *spool.Tree, d *spool.Node, name string, how int, made *atomic.Int32) error {
	_, err := tree.Create(d, name, spool.Stream, 0o644, 0, 0)
	switch {
	case err == nil:
		made.Add(1)
	case !errors.Is(err, unix.EEXIST):
		return err
	}
	n := tree.Lookup(d, name)
	if n == nil {
		return nil
	}
	switch how {
	case 0:
		return tree.Unlink(n)
	case 1:
		return tree.Remove(n)
	}
	err = n.Sync()
	if errors.Is(err, unix.ESTALE) {
		return nil
	}
	return err
}

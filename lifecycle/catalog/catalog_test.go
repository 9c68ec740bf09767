package catalog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/lifecycle/catalog"
)

// remote is a store in memory that counts what it is asked, may be slow, and
// may be down.
type remote struct {
	*mem.Store
	mu    sync.Mutex
	calls map[mem.Op]int
	err   error
	slow  time.Duration
}

func newRemote() *remote {
	r := &remote{calls: map[mem.Op]int{}}
	r.Store = mem.New(mem.Options{Before: func(ctx context.Context, op mem.Op, _ backend.Key) error {
		r.mu.Lock()
		r.calls[op]++
		err, slow := r.err, r.slow
		r.mu.Unlock()
		select {
		case <-time.After(slow):
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	return r
}

func (r *remote) set(err error, slow time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err, r.slow = err, slow
}

// took returns the calls since it was asked last.
func (r *remote) took(op mem.Op) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.calls[op]
	r.calls[op] = 0
	return n
}

// put publishes behind the catalog's back.
func (r *remote) put(t *testing.T, k backend.Key, body string) backend.Info {
	t.Helper()
	info, err := r.Put(t.Context(), backend.Object{
		Key: k, Size: int64(len(body)), Meta: backend.Meta{"sinkfs-part": "1"}, Mode: 0o640,
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader([]byte(body))), nil },
	})
	if err != nil {
		t.Fatalf("Put(%q) = %v", k, err)
	}
	return info
}

var errDown = fmt.Errorf("no route: %w", backend.ErrTransient)

func wantFile(t *testing.T, c *catalog.Catalog, k backend.Key, size int64) {
	t.Helper()
	if info, err := c.Stat(t.Context(), k); err != nil || info.Key != k || info.Dir || info.Size != size {
		t.Errorf("Stat(%q) = %+v, %v, want a file of %d bytes", k, info, err, size)
	}
}

func wantStat(t *testing.T, c *catalog.Catalog, k backend.Key, kind error) {
	t.Helper()
	if info, err := c.Stat(t.Context(), k); !errors.Is(err, kind) {
		t.Errorf("Stat(%q) = %+v, %v, want %v", k, info, err, kind)
	}
}

func wantDir(t *testing.T, c *catalog.Catalog, k backend.Key) {
	t.Helper()
	if info, err := c.Stat(t.Context(), k); err != nil || !info.Dir || info.Key != k {
		t.Errorf("Stat(%q) = %+v, %v, want a directory", k, info, err)
	}
}

func wantCalls(t *testing.T, r *remote, op mem.Op, want int) {
	t.Helper()
	if got := r.took(op); got != want {
		t.Errorf("the store was asked %d times to %s, want %d", got, op, want)
	}
}

func wantNames(t *testing.T, c *catalog.Catalog, dir backend.Key, after string, want ...string) {
	t.Helper()
	var got []string
	err := c.List(t.Context(), dir, after, func(name string, i backend.Info) error {
		if i.Key != dir.Join(name) {
			t.Errorf("List(%q) tells of %q with the key %q", dir, name, i.Key)
		}
		got = append(got, name)
		return nil
	})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("List(%q, after %q) = %v (-want +got):\n%s", dir, after, err, diff)
	}
}

func TestStatRemembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote()
		c := catalog.New(r, catalog.Options{})
		r.put(t, "d/a", "body")
		for range 3 {
			wantFile(t, c, "d/a", 4)
			wantDir(t, c, "d")
			wantStat(t, c, "d/b", backend.ErrNotExist)
			wantDir(t, c, "")
		}
		wantCalls(t, r, mem.Stat, 3)
		r.put(t, "d/b", "others")
		time.Sleep(1100 * time.Millisecond)
		wantFile(t, c, "d/b", 6)
		wantFile(t, c, "d/a", 4)
		wantCalls(t, r, mem.Stat, 1)
		if err := r.Delete(t.Context(), "d/a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(61 * time.Second)
		wantStat(t, c, "d/a", backend.ErrNotExist)
	})
}

func TestStatIsSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote()
		c := catalog.New(r, catalog.Options{})
		r.put(t, "d/a", "body")
		r.set(nil, 50*time.Millisecond)
		impatient, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.Stat(impatient, "d/a"); !errors.Is(err, context.Canceled) {
				t.Errorf("Stat whose caller left = %v", err)
			}
		})
		synctest.Wait()
		for range 50 {
			wg.Go(func() { wantFile(t, c, "d/a", 4) })
		}
		synctest.Wait()
		cancel()
		wg.Wait()
		wantCalls(t, r, mem.Stat, 1)
	})
}

func TestStatUsesListings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote()
		c := catalog.New(r, catalog.Options{})
		r.put(t, "d/a", "body")
		r.put(t, "d/sub/b", "body")
		wantNames(t, c, "d", "", "a", "sub")
		wantStat(t, c, "d/absent", backend.ErrNotExist)
		wantDir(t, c, "d/sub")
		wantCalls(t, r, mem.Stat, 0)
		// A listing does not know the writer's mode.
		if info, err := c.Stat(t.Context(), "d/a"); err != nil || !info.Owned || info.Mode != 0o640 {
			t.Errorf("Stat = %+v, %v", info, err)
		}
		for k, want := range map[backend.Key]bool{"d/a": true, "d/sub": true, "d/absent": false} {
			if known, exists := c.Exists(k); !known || exists != want {
				t.Errorf("Exists(%q) = %v, %v, want %v", k, known, exists, want)
			}
		}
		if known, _ := c.Exists("e/a"); known {
			t.Error("Exists knows of a directory that was never looked at")
		}
	})
}

func TestOwnCommitsAreKnownAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote()
		c := catalog.New(r, catalog.Options{MaxAge: time.Hour})
		wantStat(t, c, "d/e/a", backend.ErrNotExist)
		wantStat(t, c, "d/e", backend.ErrNotExist)
		wantStat(t, c, "d", backend.ErrNotExist)
		wantNames(t, c, "", "")
		if known, exists := c.Exists("d/e/a"); !known || exists {
			t.Errorf("Exists = %v, %v", known, exists)
		}
		c.Published(r.put(t, "d/e/a", "body"))
		if known, exists := c.Exists("d/e/a"); !known || !exists {
			t.Errorf("Exists after Published = %v, %v", known, exists)
		}
		r.took(mem.Stat)
		wantFile(t, c, "d/e/a", 4)
		wantCalls(t, r, mem.Stat, 0)
		wantDir(t, c, "d/e")
		wantDir(t, c, "d")
		wantNames(t, c, "", "", "d")
		wantNames(t, c, "d/e", "", "a")

		c.Published(r.put(t, "d/e/b", "body"))
		wantNames(t, c, "d/e", "", "a", "b")
		if err := r.Delete(t.Context(), "d/e/a"); err != nil {
			t.Fatal(err)
		}
		c.Deleted("d/e/a")
		wantStat(t, c, "d/e/a", backend.ErrNotExist)
		wantNames(t, c, "d/e", "", "b")
	})
}

// TestOwnCommitsOvertake: an answer that was on its way when we published is
// not believed by whoever asks afterwards.
func TestOwnCommitsOvertake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote()
		late := make(chan struct{})
		slow := &lateStore{Store: r, late: late}
		c := catalog.New(slow, catalog.Options{MaxAge: time.Hour})
		r.put(t, "d/old", "body")
		var wg sync.WaitGroup
		wg.Go(func() { wantStat(t, c, "d/a", backend.ErrNotExist) })
		wg.Go(func() { wantNames(t, c, "d", "", "old") })
		wg.Go(func() { wantFile(t, c, "d/old", 4) })
		synctest.Wait() // the store has answered, the answers are on their way
		slow.mu.Lock()
		slow.late = nil
		slow.mu.Unlock()
		c.Published(r.put(t, "d/a", "body"))
		if err := r.Delete(t.Context(), "d/old"); err != nil {
			t.Fatal(err)
		}
		c.Deleted("d/old")
		wantNames(t, c, "d", "", "a")
		close(late)
		wg.Wait()
		wantFile(t, c, "d/a", 4)
		wantStat(t, c, "d/old", backend.ErrNotExist)
		wantNames(t, c, "d", "", "a")
	})
}

// lateStore answers at once and delivers the answer late.
type lateStore struct {
	backend.Store
	mu   sync.Mutex
	late chan struct{}
}

func (s *lateStore) wait() {
	s.mu.Lock()
	late := s.late
	s.mu.Unlock()
	if late != nil {
		<-late
	}
}

func (s *lateStore) Stat(ctx context.Context, k backend.Key) (backend.Info, error) {
	info, err := s.Store.Stat(ctx, k)
	s.wait()
	return info, err
}

func (s *lateStore) List(ctx context.Context, dir backend.Key, after string, fn func(string, backend.Info) error) error {
	err := s.Store.List(ctx, dir, after, fn)
	s.wait()
	return err
}

// many is a store with one directory too large to remember.
type many struct {
	backend.Store
	names []string
	lists int
}

func (m *many) List(_ context.Context, dir backend.Key, after string, fn func(string, backend.Info) error) error {
	m.lists++
	at, found := slices.BinarySearch(m.names, after)
	if found {
		at++
	}
	for _, name := range m.names[at:] {
		if err := fn(name, backend.Info{Key: dir.Join(name), Size: 1}); err != nil {
			return err
		}
	}
	return nil
}

func TestIno(t *testing.T) {
	// Stays the same for ever: these numbers are in other hosts' tables.
	for k, want := range map[backend.Key]uint64{
		"":  0x38ec3110a63f0705,
		"a": 0x32a5e044b286ef72,
		"é": 0x12a6555f900cf0d4,
	} {
		if got := catalog.Ino(k); got != want {
			t.Errorf("Ino(%q) = %#x, want %#x", k, got, want)
		}
	}
}

package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/local"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/lifecycle/catalog"
)

func pattern(size int) string {
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(i*7 + i>>8*13 + i>>16*31)
	}
	return string(body)
}

func openFile(t *testing.T, c *catalog.Catalog, k backend.Key) *catalog.File {
	t.Helper()
	f, err := c.Open(t.Context(), k)
	if err != nil {
		t.Fatalf("Open(%q) = %v", k, err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return f
}

func wantRead(t *testing.T, f *catalog.File, body string, off int64, n int) {
	t.Helper()
	p := make([]byte, n)
	got, err := f.ReadAt(t.Context(), p, off)
	from := min(off, int64(len(body)))
	want := body[from:min(int64(len(body)), from+int64(n))]
	if err != nil || string(p[:got]) != want {
		t.Errorf("ReadAt(%d bytes at %d) = %d, %v, want %d bytes, or the bytes differ", n, off, got, err, len(want))
	}
}

func TestReadSequential(t *testing.T) {
	r := newRemote()
	c := catalog.New(r, catalog.Options{})
	body := pattern(20<<20 + 77)
	r.put(t, "a", body)
	f := openFile(t, c, "a")
	r.took(mem.Open)
	const step = 128 << 10
	for off := 0; off < len(body)+step; off += step {
		wantRead(t, f, body, int64(off), step)
	}
	// 128 KiB, then twice as much each time up to 4 MiB.
	if n := r.took(mem.Open); n < 8 || n > 12 {
		t.Errorf("20 MiB took %d requests", n)
	}
	if fd, ok := f.Fd(); ok {
		t.Errorf("a remote file has the descriptor %d", fd)
	}
}

// TestReadAheadHidesLatency: a reader that is slower than the store does not
// wait for it.
func TestReadAheadHidesLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote()
		c := catalog.New(r, catalog.Options{})
		body := pattern(16 << 20)
		r.put(t, "a", body)
		f := openFile(t, c, "a")
		r.set(nil, 20*time.Millisecond)
		const step = 128 << 10
		var waited time.Duration
		for off := 0; off < len(body); off += step {
			began := time.Now()
			wantRead(t, f, body, int64(off), step)
			waited += time.Since(began)
			time.Sleep(20 * time.Millisecond)
		}
		if waited > 40*time.Millisecond {
			t.Errorf("the reader waited %v, want only for the first two requests", waited)
		}
	})
}

func TestReadRandom(t *testing.T) {
	r := newRemote()
	c := catalog.New(r, catalog.Options{})
	body := pattern(9<<20 + 13)
	r.put(t, "a", body)
	f := openFile(t, c, "a")
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		wantRead(t, f, body, rnd.Int64N(int64(len(body)+1000)), rnd.IntN(600<<10))
	}
}

// TestReadConcurrently has the kernel's order of reads, and worse.
func TestReadConcurrently(t *testing.T) {
	r := newRemote()
	c := catalog.New(r, catalog.Options{})
	body := pattern(8 << 20)
	r.put(t, "a", body)
	f := openFile(t, c, "a")
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(worker)))
			for i := range 64 {
				off := int64(i*8+worker) * 16 << 10
				if worker > 4 {
					off = rnd.Int64N(8 << 20)
				}
				wantRead(t, f, body, off, 16<<10)
			}
		})
	}
	wg.Wait()
}

func TestReadGoesOnAfterErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote()
		body := pattern(3 << 20)
		r.put(t, "a", body)
		broken := &breaking{Store: r, after: 50_000}
		c := catalog.New(broken, catalog.Options{})
		f := openFile(t, c, "a")
		wantRead(t, f, body, 0, 100_000) // in two pieces
		broken.mu.Lock()
		broken.after = 0
		broken.mu.Unlock()
		p := make([]byte, 1000)
		if n, err := f.ReadAt(t.Context(), p, 1<<20); !errors.Is(err, backend.ErrTransient) {
			t.Errorf("ReadAt from a store that breaks each time = %d, %v", n, err)
		}
		broken.mu.Lock()
		broken.after = 1 << 30
		broken.mu.Unlock()
		wantRead(t, f, body, 1<<20, 1000)
		wantRead(t, f, body, 0, len(body))
	})
}

// breaking is a store whose connections break after some bytes.
type breaking struct {
	backend.Store
	mu    sync.Mutex
	after int64
}

func (b *breaking) Open(ctx context.Context, k backend.Key, off, n int64) (io.ReadCloser, error) {
	r, err := b.Store.Open(ctx, k, off, n)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return io.NopCloser(io.MultiReader(io.LimitReader(r, b.after), broken{n > b.after})), nil
}

type broken struct{ yes bool }

func (b broken) Read([]byte) (int, error) {
	if b.yes {
		return 0, errDown
	}
	return 0, io.EOF
}

func TestReadFromASilentStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote()
		c := catalog.New(r, catalog.Options{Timeout: 3 * time.Second})
		r.put(t, "a", "body")
		f := openFile(t, c, "a")
		r.set(nil, time.Hour)
		began := time.Now()
		if n, err := f.ReadAt(t.Context(), make([]byte, 4), 0); !errors.Is(err, backend.ErrTransient) {
			t.Errorf("ReadAt = %d, %v", n, err)
		}
		if took := time.Since(began); took < 12*time.Second || took > 20*time.Second {
			t.Errorf("ReadAt gave up after %v, want four times 3 s and the waits between", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if n, err := f.ReadAt(ctx, make([]byte, 4), 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ReadAt = %d, %v", n, err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("ReadAt returned after %v, its context ended after 1 s", took)
		}
	})
}

func TestReadOfWhatIsGone(t *testing.T) {
	r := newRemote()
	c := catalog.New(r, catalog.Options{})
	r.put(t, "d/a", "body")
	f := openFile(t, c, "d/a")
	if err := r.Delete(t.Context(), "d/a"); err != nil {
		t.Fatal(err)
	}
	if n, err := f.ReadAt(t.Context(), make([]byte, 4), 0); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("ReadAt = %d, %v", n, err)
	}
	wantStat(t, c, "d/a", backend.ErrNotExist)
}

func TestReadAfterClose(t *testing.T) {
	r := newRemote()
	c := catalog.New(r, catalog.Options{})
	r.put(t, "a", "body")
	f, err := c.Open(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(t.Context(), make([]byte, 4), 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("ReadAt = %v", err)
	}
}

// TestManyReaders: their buffers together are bounded, and given back.
func TestManyReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote()
		c := catalog.New(r, catalog.Options{})
		body := pattern(12 << 20)
		r.put(t, "a", body)
		for range 2 {
			var files []*catalog.File
			for range 20 {
				f, err := c.Open(t.Context(), "a")
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, f)
				for off := 0; off < len(body); off += 1 << 20 {
					wantRead(t, f, body, int64(off), 1<<20)
				}
			}
			if n := catalog.Ahead(c); n > 96<<20 {
				t.Errorf("20 readers hold %d MiB", n>>20)
			}
			for _, f := range files {
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			}
			if n := catalog.Ahead(c); n != 0 {
				t.Errorf("%d bytes are held after Close", n)
			}
		}
	})
}

func TestLocal(t *testing.T) {
	dir := t.TempDir()
	store, err := local.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := catalog.New(store, catalog.Options{})
	wantNames(t, c, "", "")
	wantStat(t, c, "d/a", backend.ErrNotExist)
	wantStat(t, c, "d", backend.ErrNotExist)
	// Nothing that is done in the directory has to be told.
	body := pattern(300_000)
	if err := os.Mkdir(dir+"/d", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/d/a", []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	wantNames(t, c, "", "", "d")
	wantNames(t, c, "d", "", "a")
	wantDir(t, c, "d")
	wantFile(t, c, "d/a", 300_000)
	f := openFile(t, c, "d/a")
	for _, off := range []int64{0, 100_000, 299_999, 300_000, 400_000} {
		wantRead(t, f, body, off, 4096)
	}
	fd, ok := f.Fd()
	if !ok {
		t.Fatal("a local file has no descriptor")
	}
	if to, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err != nil || to != dir+"/d/a" {
		t.Errorf("the descriptor is of %q, %v", to, err)
	}
	if err := os.Remove(dir + "/d/a"); err != nil {
		t.Fatal(err)
	}
	wantStat(t, c, "d/a", backend.ErrNotExist)
	wantNames(t, c, "d", "")
	wantRead(t, f, body, 0, 4096)
	if _, err := c.Open(t.Context(), "d"); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("Open of a directory = %v", err)
	}
}

// TestLocalOwnCommits: who looked before we published, and asks again under a
// lock whether the name went meanwhile, is told; and not for long, because
// others may take the file away.
func TestLocalOwnCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		store, err := local.Open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		c := catalog.New(store, catalog.Options{})
		wantStat(t, c, "d/a", backend.ErrNotExist)
		if known, _ := c.Exists("d/a"); known {
			t.Error("Exists knows of a local file that nobody published")
		}
		info, err := store.Put(t.Context(), backend.Object{
			Key: "d/a", Mode: 0o600, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("")), nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Published(info)
		if known, exists := c.Exists("d/a"); !known || !exists {
			t.Errorf("Exists = %v, %v after Published", known, exists)
		}
		if err := os.Remove(dir + "/d/a"); err != nil {
			t.Fatal(err)
		}
		wantStat(t, c, "d/a", backend.ErrNotExist)
		time.Sleep(2 * time.Second)
		if known, _ := c.Exists("d/a"); known {
			t.Error("Exists still believes in a local file after 2 s")
		}
	})
}

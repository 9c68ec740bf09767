package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/backend"
)

func testProperties(t *testing.T, target Target) {
	p := target.Store.Properties()
	if p.URL == "" || p.Identity == "" || p.Parallel < 1 || p.MaxKey < 255 || p.StageAbove < 0 {
		t.Errorf("Properties() = %+v: URL, Identity, Parallel and MaxKey are needed", p)
	}
	put(t, target.Store, "a", "body")
	if again := target.Store.Properties(); again != p {
		t.Errorf("Properties() = %+v, were %+v", again, p)
	}
	if _, opens := target.Store.(backend.FileOpener); p.Local && !opens {
		t.Error("a store with Properties().Local must be a FileOpener")
	}
	_, grows := target.Store.(backend.Grower)
	if _, lists := target.Store.(backend.UploadLister); p.Grows && !(grows && lists) {
		t.Error("a store with Properties().Grows must be a Grower and an UploadLister")
	}
}

func testCheck(t *testing.T, target Target) {
	for range 2 {
		if err := target.Store.Check(t.Context()); err != nil {
			t.Fatalf("Check() = %v", err)
		}
		wantNames(t, target.Store, "", "")
	}
}

func testPutRoundTrip(t *testing.T, target Target) {
	s := target.Store
	sums := map[string]bool{}
	for _, size := range []int{0, 1, 4095, 64<<10 + 1, 5<<20 + 3} {
		var bodies counted
		body := Pattern(size)
		o := Object(backend.Key(fmt.Sprintf("d/e/%d.log", size)), body)
		o.Open = bodies.wrap(o.Open)
		info, err := s.Put(t.Context(), o)
		if err != nil {
			t.Fatalf("Put of %d bytes = %v", size, err)
		}
		bodies.check(t)
		wantInfo(t, info, o)
		seen, err := s.Stat(t.Context(), o.Key)
		if err != nil {
			t.Fatalf("Stat(%q) = %v", o.Key, err)
		}
		wantInfo(t, seen, o)
		if !target.keeps(seen.Checksum) || seen.Checksum != info.Checksum || sums[seen.Checksum] {
			t.Errorf("checksum of %q: Put says %q, Stat %q; want one of the body", o.Key, info.Checksum, seen.Checksum)
		}
		sums[seen.Checksum] = !target.NoChecksum
		if got := get(t, s, o.Key, 0, -1); !bytes.Equal(got, body) {
			t.Errorf("body of %q differs: %d bytes, want %d", o.Key, len(got), size)
		}
	}
}

func testPutNeverOverwrites(t *testing.T, target Target) {
	s := target.Store
	first := put(t, s, "a/b", "first")
	_, err := s.Put(t.Context(), Object("a/b", []byte("second, longer")))
	WantKind(t, "Put on a taken key", err, backend.ErrExist)
	_, err = s.Put(t.Context(), Object("a/b", []byte("first")))
	WantKind(t, "Put of the very same object", err, backend.ErrExist)
	WantBody(t, s, "a/b", "first")
	if seen, err := s.Stat(t.Context(), "a/b"); err != nil || seen.Checksum != first.Checksum {
		t.Errorf("Stat = %+v, %v, want what the first Put said: %+v", seen, err, first)
	}
}

// race runs n attempts at one key and returns the winner's number.
func race(t *testing.T, n int, attempt func(i int) error) int {
	t.Helper()
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = attempt(i)
		})
	}
	close(start)
	wg.Wait()
	winner, winners := 0, 0
	for i, err := range errs {
		if err == nil {
			winner = i
			winners++
		} else {
			WantKind(t, fmt.Sprintf("attempt %d", i), err, backend.ErrExist)
		}
	}
	if winners != 1 {
		t.Fatalf("%d of %d racing attempts succeeded, want 1", winners, n)
	}
	return winner
}

func testPutRace(t *testing.T, target Target) {
	if !target.Store.Properties().CreateOnly {
		return // without the store's help one looks before the leap, and races are lost
	}
	for round := range 10 {
		k := backend.Key(fmt.Sprintf("new/dir%d/part", round))
		body := func(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "attempt %d\n", i), 1000) }
		winner := race(t, 8, func(i int) error {
			_, err := target.Store.Put(t.Context(), Object(k, body(i)))
			return err
		})
		WantBody(t, target.Store, k, string(body(winner)))
	}
}

func testPutMany(t *testing.T, target Target) {
	const n = 64
	var want []string
	for i := range n {
		want = append(want, fmt.Sprintf("%03d", i))
	}
	var wg sync.WaitGroup
	for _, name := range want {
		wg.Go(func() {
			if _, err := target.Store.Put(t.Context(), Object(backend.Key("x/y").Join(name), []byte(name))); err != nil {
				t.Errorf("Put(%q) = %v", name, err)
			}
		})
	}
	wg.Wait()
	wantNames(t, target.Store, "x/y", "", want...)
	for _, name := range want {
		WantBody(t, target.Store, backend.Key("x/y").Join(name), name)
	}
}

func testPutZeroTime(t *testing.T, target Target) {
	before := time.Now().Add(-time.Minute)
	o := Object("a", []byte("body"))
	o.ModTime = time.Time{}
	if _, err := target.Store.Put(t.Context(), o); err != nil {
		t.Fatalf("Put = %v", err)
	}
	info, err := target.Store.Stat(t.Context(), "a")
	if err != nil || info.ModTime.Before(before) || info.ModTime.After(time.Now().Add(time.Minute)) {
		t.Errorf("Stat = %+v, %v, want the time of now", info, err)
	}
}

// failing yields some bytes and then an error.
type failing struct {
	io.Reader
	err error
}

func (f failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err == io.EOF {
		err = f.err
	}
	return n, err
}

func testBodyErrors(t *testing.T, target Target) {
	// An errno that a driver could take for one of its own.
	broken := &unixError{unix.ENOSPC}
	bodies := map[string]func() (io.ReadCloser, error){
		"cannot be opened": func() (io.ReadCloser, error) { return nil, broken },
		"breaks off": func() (io.ReadCloser, error) {
			return io.NopCloser(failing{bytes.NewReader(Pattern(70_000)), broken}), nil
		},
		"is too short": opener(Pattern(99_999)),
		"is too long":  opener(Pattern(100_001)),
	}
	for name, open := range bodies {
		o := Object("d/a", Pattern(100_000))
		o.Open = open
		check := func(what string, err error) {
			what = fmt.Sprintf("%s of a body that %s", what, name)
			WantKind(t, what, err, nil)
			if said := errors.Is(err, broken); said != (name == "cannot be opened" || name == "breaks off") {
				t.Errorf("%s = %v: wraps the body's error: %v", what, err, said)
			}
			wantAbsent(t, target.Store, "d/a")
		}
		_, err := target.Store.Put(t.Context(), o)
		check("Put", err)
		st, err := target.Store.Stage(t.Context(), o)
		check("Stage", err)
		if st != nil {
			t.Errorf("Stage of a body that %s returns something besides the error", name)
		}
	}
	wantNames(t, target.Store, "", "")
}

// unixError compares by identity and still is an errno to errors.As.
type unixError struct{ errno unix.Errno }

func (e *unixError) Error() string { return "body: " + e.errno.Error() }
func (e *unixError) Unwrap() error { return e.errno }

// stuck blocks its reader until the test lets it go.
type stuck struct {
	reading chan struct{}
	release chan struct{}
	once    *sync.Once
}

func (s stuck) Read([]byte) (int, error) {
	s.once.Do(func() { close(s.reading) })
	<-s.release
	return 0, errors.New("the body ended late")
}

func testBodyCancelled(t *testing.T, target Target) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := stuck{make(chan struct{}), make(chan struct{}), new(sync.Once)}
	o := Object("d/a", Pattern(100_000))
	o.Open = func() (io.ReadCloser, error) { return io.NopCloser(s), nil }
	done := make(chan error, 1)
	go func() {
		_, err := target.Store.Put(ctx, o)
		done <- err
	}()
	<-s.reading
	cancel()
	close(s.release)
	if err := <-done; err == nil {
		t.Error("Put succeeded although its context ended")
	}
	wantAbsent(t, target.Store, "d/a")
}

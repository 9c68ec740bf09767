package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
)

func testRanges(t *testing.T, target Target) {
	const size = 100_000
	body := Pattern(size)
	if _, err := target.Store.Put(t.Context(), Object("d/a", body)); err != nil {
		t.Fatalf("Put = %v", err)
	}
	for _, r := range []struct{ off, n int64 }{
		{0, -1},
		{0, 0},
		{0, 1},
		{1, 4096},
		{4095, 2},
		{50_000, -1},
		{0, size},
		{0, size + 1},
		{size - 1, 1},
		{size - 1, 100},
		{size, -1},
		{size, 10},
		{size + 1, -1},
		{size + 1, 10},
	} {
		from := min(r.off, size)
		to := int64(size)
		if r.n >= 0 {
			to = min(size, from+r.n)
		}
		if got, want := get(t, target.Store, "d/a", r.off, r.n), body[from:to]; !bytes.Equal(got, want) {
			t.Errorf("Open(%d, %d): %d bytes, want %d, or others", r.off, r.n, len(got), len(want))
		}
	}
	put(t, target.Store, "empty", "")
	if got := get(t, target.Store, "empty", 0, 10); len(got) != 0 {
		t.Errorf("an empty object reads %q", got)
	}
}

func testNotExist(t *testing.T, target Target) {
	s := target.Store
	put(t, s, "d/a", "body")
	for _, k := range []backend.Key{"b", "d/b", "d/a/b", "e/f/g"} {
		wantAbsent(t, s, k)
		_, err := s.Open(t.Context(), k, 0, -1)
		WantKind(t, fmt.Sprintf("Open(%q)", k), err, backend.ErrNotExist)
		WantKind(t, fmt.Sprintf("Delete(%q)", k), s.Delete(t.Context(), k), backend.ErrNotExist)
		err = s.List(t.Context(), k, "", func(string, backend.Info) error { return nil })
		WantKind(t, fmt.Sprintf("List(%q)", k), err, backend.ErrNotExist)
	}
	WantBody(t, s, "d/a", "body")
}

func testDirectories(t *testing.T, target Target) {
	s := target.Store
	put(t, s, "d/e/a", "body")
	for _, k := range []backend.Key{"", "d", "d/e"} {
		info, err := s.Stat(t.Context(), k)
		if err != nil || !info.Dir || info.Key != k {
			t.Errorf("Stat(%q) = %+v, %v, want a directory", k, info, err)
		}
	}
	_, err := s.Open(t.Context(), "d/e", 0, -1)
	WantKind(t, "Open of a directory", err, backend.ErrNotExist)
	WantKind(t, "Delete of a directory", s.Delete(t.Context(), "d/e"), backend.ErrNotExist)
	WantBody(t, s, "d/e/a", "body")
}

// testInTheWay allows both readings of a name that is object and directory:
// object stores take it, file systems do not. None may lose anything.
func testInTheWay(t *testing.T, target Target) {
	s := target.Store
	put(t, s, "d/a", "body")
	if _, err := s.Put(t.Context(), Object("d", []byte("other"))); err != nil {
		WantKind(t, "Put where a directory is", err, backend.ErrExist)
		if info, err := s.Stat(t.Context(), "d"); err != nil || !info.Dir {
			t.Errorf("Stat = %+v, %v, want the directory", info, err)
		}
	}
	if _, err := s.Put(t.Context(), Object("d/a/b", []byte("other"))); err != nil {
		WantKind(t, "Put below an object", err, backend.ErrPermission) // until somebody takes it away
	}
	WantBody(t, s, "d/a", "body")
}

func testMeta(t *testing.T, target Target) {
	full := backend.Meta{"sinkfs-instance": "0123456789abcdef", "sinkfs-sink": "/été <&\"'\\ %41"}
	const key = "sinkfs-ranges"
	rest := backend.MaxMeta - len(key)
	for k, v := range full {
		rest -= len(k) + len(v)
	}
	full[key] = string(bytes.Repeat([]byte("12.3:4+5,"), 60)[:rest])
	for name, meta := range map[string]backend.Meta{"none": nil, "empty-value": {"sinkfs-a": ""}, "full": full} {
		o := Object(backend.Key(name), []byte("body"))
		o.Meta = meta
		if _, err := target.Store.Put(t.Context(), o); err != nil {
			t.Errorf("Put with %s metadata = %v", name, err)
			continue
		}
		info, err := target.Store.Stat(t.Context(), o.Key)
		if err != nil {
			t.Errorf("Stat(%q) = %v", name, err)
			continue
		}
		if len(meta) == 0 {
			info.Meta = o.Meta // nil and empty are the same
		}
		wantInfo(t, info, o)
	}
	for name, meta := range map[string]backend.Meta{
		"too much": {"a": string(make([]byte, backend.MaxMeta))}, "bad key": {"A b": ""}, "not UTF-8": {"a": "\xff"},
	} {
		o := Object("refused", []byte("body"))
		o.Meta = meta
		if _, err := target.Store.Put(t.Context(), o); err == nil {
			t.Errorf("Put with metadata (%s) succeeded", name)
		}
		wantAbsent(t, target.Store, "refused")
	}
}

func testForeign(t *testing.T, target Target) {
	s := target.Store
	target.Foreign(t, "d/foreign", []byte("not ours"))
	put(t, s, "d/ours", "ours")
	wantNames(t, s, "d", "", "foreign", "ours")
	info, err := s.Stat(t.Context(), "d/foreign")
	if err != nil || info.Owned || info.Size != 8 || len(info.Meta) != 0 || info.ModTime.Before(time.Now().Add(-time.Hour)) {
		t.Errorf("Stat of a foreign object = %+v, %v", info, err)
	}
	WantBody(t, s, "d/foreign", "not ours")
	_, err = s.Put(t.Context(), Object("d/foreign", []byte("ours")))
	WantKind(t, "Put on a foreign object", err, backend.ErrExist)
	st := stage(t, s, "d/foreign", "ours")
	_, err = st.Commit(t.Context())
	WantKind(t, "Commit on a foreign object", err, backend.ErrExist)
	abort(t, st)
	WantBody(t, s, "d/foreign", "not ours")
}

func testDelete(t *testing.T, target Target) {
	s := target.Store
	put(t, s, "d/a", "first")
	put(t, s, "d/b", "other")
	if err := s.Delete(t.Context(), "d/a"); err != nil {
		t.Fatalf("Delete = %v", err)
	}
	wantAbsent(t, s, "d/a")
	wantNames(t, s, "d", "", "b")
	WantKind(t, "Delete twice", s.Delete(t.Context(), "d/a"), backend.ErrNotExist)
	put(t, s, "d/a", "second")
	WantBody(t, s, "d/a", "second")
}

func testCancelled(t *testing.T, target Target) {
	s := target.Store
	put(t, s, "d/a", "body")
	st := stage(t, s, "d/b", "body")
	ctx := cancelled(t)
	calls := map[string]func() error{
		"Check": func() error { return s.Check(ctx) },
		"Put": func() error {
			_, err := s.Put(ctx, Object("d/c", []byte("body")))
			return err
		},
		"Stage": func() error {
			_, err := s.Stage(ctx, Object("d/c", []byte("body")))
			return err
		},
		"Commit": func() error {
			_, err := st.Commit(ctx)
			return err
		},
		"Stat": func() error {
			_, err := s.Stat(ctx, "d/a")
			return err
		},
		"Open": func() error {
			r, err := s.Open(ctx, "d/a", 0, -1)
			if err == nil {
				_ = r.Close()
			}
			return err
		},
		"List":   func() error { return s.List(ctx, "d", "", func(string, backend.Info) error { return nil }) },
		"Delete": func() error { return s.Delete(ctx, "d/a") },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a context that has ended = %v", name, err)
		}
	}
	wantNames(t, s, "d", "", "a")
	abort(t, st)
	cancelledWhileRunning(t, s)
}

func cancelledWhileRunning(t *testing.T, s backend.Store) {
	t.Helper()
	big := slices.Repeat(Pattern(1<<20), 16)
	if _, err := s.Put(t.Context(), Object("d/big", big)); err != nil {
		t.Fatalf("Put = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := s.List(ctx, "d", "", func(string, backend.Info) error {
		cancel()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("List whose context ends = %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	r, err := s.Open(ctx, "d/big", 0, -1)
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		t.Errorf("read = %v", err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
		t.Errorf("read after the context ended = %v", err)
	}
}

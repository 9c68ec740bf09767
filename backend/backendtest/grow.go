package backendtest

import (
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
)

// grow begins an object; nil when the store takes none whose end is not
// known.
func grow(t *testing.T, s backend.Store, o backend.Object) backend.Growing {
	t.Helper()
	if !s.Properties().Grows {
		return nil
	}
	g, ok := s.(backend.Grower)
	if !ok {
		t.Fatal("the store is no Grower")
	}
	o.Open = nil
	out, err := g.Grow(t.Context(), o)
	if err != nil {
		t.Fatalf("Grow(%q) = %v", o.Key, err)
	}
	if out.Unit() < 1 {
		t.Fatalf("Unit() = %d", out.Unit())
	}
	return out
}

func appendPiece(t *testing.T, g backend.Growing, body []byte) {
	t.Helper()
	var bodies counted
	if err := g.Append(t.Context(), backend.Piece{Size: int64(len(body)), Open: bodies.wrap(opener(body))}); err != nil {
		t.Fatalf("Append of %d bytes = %v", len(body), err)
	}
	bodies.check(t)
}

func seal(t *testing.T, g backend.Growing) backend.Staged {
	t.Helper()
	st, err := g.Seal(t.Context())
	if err != nil {
		t.Fatalf("Seal() = %v", err)
	}
	return st
}

// uploadsAt counts what is under way at a key.
func uploadsAt(t *testing.T, s backend.Store, k backend.Key) (n int) {
	t.Helper()
	l, ok := s.(backend.UploadLister)
	if !ok {
		t.Fatal("the store lists no uploads")
	}
	if err := l.Uploads(t.Context(), k, func(u backend.Upload) error {
		if u.Key == k {
			n++
		}
		return nil
	}); err != nil {
		t.Errorf("Uploads(%q) = %v", k, err)
	}
	return n
}

func testGrowInvisible(t *testing.T, target Target) {
	s := target.Store
	o := Object("d/e/a", nil)
	o.Size = 1 << 30
	g := grow(t, s, o)
	if g == nil {
		return
	}
	unit := int(g.Unit())
	body := Pattern(3*unit + 1)
	unseen := func() {
		t.Helper()
		wantAbsent(t, s, "d/e/a")
		wantAbsent(t, s, "d")
		wantNames(t, s, "", "")
		if n := uploadsAt(t, s, "d/e/a"); n != 1 {
			t.Errorf("%d uploads are told of, want 1", n)
		}
	}
	unseen()
	appendPiece(t, g, body[:unit])
	appendPiece(t, g, body[unit:3*unit])
	unseen()
	appendPiece(t, g, body[3*unit:])
	st := seal(t, g)
	unseen()

	taken := st.Checksum()
	info := commit(t, st)
	wantTaken(t, target, taken, info)
	o.Size = int64(len(body))
	wantInfo(t, info, o)
	seen, err := s.Stat(t.Context(), "d/e/a")
	if err != nil || seen.Checksum != info.Checksum || !target.keeps(seen.Checksum) {
		t.Errorf("Stat = %+v, %v, want the checksum that Commit gave: %q", seen, err, info.Checksum)
	}
	wantInfo(t, seen, o)
	WantBody(t, s, "d/e/a", string(body))
	if n := uploadsAt(t, s, "d/e/a"); n != 0 {
		t.Errorf("%d uploads are told of after the commit", n)
	}
}

func testGrowNothing(t *testing.T, target Target) {
	g := grow(t, target.Store, Object("d/a", nil))
	if g == nil {
		return
	}
	if _, err := g.Seal(t.Context()); err == nil {
		t.Error("Seal of nothing succeeded")
	}
	if err := g.Abort(t.Context()); err != nil {
		t.Errorf("Abort() = %v", err)
	}
	wantAbsent(t, target.Store, "d/a")
}

func testGrowWrong(t *testing.T, target Target) {
	for name, pieces := range map[string][]string{
		"a piece behind one that fills no part": {"a", "b"}, "more than was announced": {"four"},
	} {
		o := Object("d/a", nil)
		o.Size = 3
		g := grow(t, target.Store, o)
		if g == nil {
			return
		}
		if g.Unit() < 2 {
			t.Fatalf("the suite needs a store with a unit of more than %d", g.Unit())
		}
		var err error
		for _, p := range pieces {
			err = g.Append(t.Context(), backend.Piece{Size: int64(len(p)), Open: opener([]byte(p))})
		}
		if err == nil {
			t.Errorf("%s was taken", name)
		}
		if err := g.Abort(t.Context()); err != nil {
			t.Errorf("Abort() = %v", err)
		}
	}
}

func testGrowNeverOverwrites(t *testing.T, target Target) {
	o := Object("d/a", nil)
	o.Size = 100
	g := grow(t, target.Store, o)
	if g == nil {
		return
	}
	appendPiece(t, g, []byte("late"))
	st := seal(t, g)
	put(t, target.Store, "d/a", "first")
	_, err := st.Commit(t.Context())
	WantKind(t, "Commit on a taken key", err, backend.ErrExist)
	abort(t, st)
	WantBody(t, target.Store, "d/a", "first")
}

func testGrowAbort(t *testing.T, target Target) {
	s := target.Store
	o := Object("d/a", nil)
	o.Size = 1 << 30
	g := grow(t, s, o)
	if g == nil {
		return
	}
	appendPiece(t, g, Pattern(int(g.Unit())))
	for range 2 {
		if err := g.Abort(t.Context()); err != nil {
			t.Errorf("Abort() = %v", err)
		}
	}
	if n := uploadsAt(t, s, "d/a"); n != 0 {
		t.Errorf("%d uploads are left", n)
	}
	err := g.Append(t.Context(), backend.Piece{Size: 1, Open: opener([]byte("x"))})
	WantKind(t, "Append after Abort", err, backend.ErrGone)
	wantAbsent(t, s, "d/a")
	put(t, s, "d/a", "body")
	WantBody(t, s, "d/a", "body")
}

func testGrowExpires(t *testing.T, target Target) {
	o := Object("d/a", nil)
	o.Size = 1 << 30
	g := grow(t, target.Store, o)
	if g == nil || target.Expire == nil {
		return
	}
	appendPiece(t, g, Pattern(int(g.Unit())))
	target.Expire(t)
	err := g.Append(t.Context(), backend.Piece{Size: 1, Open: opener([]byte("x"))})
	WantKind(t, "Append to what the store forgot", err, backend.ErrGone)
	if err := g.Abort(t.Context()); err != nil {
		t.Errorf("Abort() = %v", err)
	}
	wantAbsent(t, target.Store, "d/a")
}

func testGrowBodyErrors(t *testing.T, target Target) {
	broken := errors.New("the disk is broken")
	o := Object("d/a", nil)
	o.Size = 1 << 30
	g := grow(t, target.Store, o)
	if g == nil {
		return
	}
	err := g.Append(t.Context(), backend.Piece{Size: 10, Open: func() (io.ReadCloser, error) { return nil, broken }})
	if !errors.Is(err, broken) || slices.ContainsFunc(kinds, func(k error) bool { return errors.Is(err, k) }) {
		t.Errorf("Append of a body that cannot be read = %v, want its error and no kind", err)
	}
	if err := g.Abort(t.Context()); err != nil {
		t.Errorf("Abort() = %v", err)
	}
	if n := uploadsAt(t, target.Store, "d/a"); n != 0 {
		t.Errorf("%d uploads are left", n)
	}
}

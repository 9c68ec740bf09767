package backendtest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
)

func commit(t *testing.T, st backend.Staged) backend.Info {
	t.Helper()
	info, err := st.Commit(t.Context())
	if err != nil {
		t.Fatalf("Commit() = %v", err)
	}
	return info
}

// wantTaken compares the checksum that was taken while staging with that of
// the object.
func wantTaken(t *testing.T, target Target, taken string, info backend.Info) {
	t.Helper()
	if taken == "" || taken != info.Checksum && !target.NoChecksum {
		t.Errorf("Checksum() of what was staged is %q, the object has %q", taken, info.Checksum)
	}
}

func abort(t *testing.T, st backend.Staged) {
	t.Helper()
	if err := st.Abort(t.Context()); err != nil {
		t.Errorf("Abort() = %v", err)
	}
}

func testStageInvisible(t *testing.T, target Target) {
	s := target.Store
	var bodies counted
	body := Pattern(6<<20 + 1)
	o := Object("d/e/a", body)
	o.Open = bodies.wrap(o.Open)
	st, err := s.Stage(t.Context(), o)
	if err != nil {
		t.Fatalf("Stage = %v", err)
	}
	bodies.check(t)
	wantAbsent(t, s, "d/e/a")
	wantAbsent(t, s, "d")
	wantNames(t, s, "", "")
	_, err = s.Open(t.Context(), "d/e/a", 0, -1)
	WantKind(t, "Open of a staged object", err, backend.ErrNotExist)

	taken := st.Checksum()
	info := commit(t, st)
	wantInfo(t, info, o)
	wantTaken(t, target, taken, info)
	seen, err := s.Stat(t.Context(), "d/e/a")
	if err != nil || seen.Checksum != info.Checksum || !target.keeps(seen.Checksum) {
		t.Errorf("Stat = %+v, %v, want the checksum that Commit gave: %q", seen, err, info.Checksum)
	}
	wantInfo(t, seen, o)
	wantNames(t, s, "d/e", "", "a")
	WantBody(t, s, "d/e/a", string(body))
}

func testCommitTwice(t *testing.T, target Target) {
	st := stage(t, target.Store, "d/a", "body")
	first := commit(t, st)
	second := commit(t, st)
	if first.Checksum != second.Checksum || first.Key != second.Key || first.Size != second.Size {
		t.Errorf("Commit() = %+v, then %+v", first, second)
	}
	abort(t, st)
	WantBody(t, target.Store, "d/a", "body")
	if again := commit(t, st); again.Checksum != first.Checksum {
		t.Errorf("Commit() after Abort() after Commit() = %+v, want %+v", again, first)
	}
}

func testCommitAfterError(t *testing.T, target Target) {
	st := stage(t, target.Store, "d/a", "body")
	if _, err := st.Commit(cancelled(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit with a context that has ended = %v", err)
	}
	wantAbsent(t, target.Store, "d/a")
	commit(t, st)
	WantBody(t, target.Store, "d/a", "body")
}

func testStageNeverOverwrites(t *testing.T, target Target) {
	s := target.Store
	early := stage(t, s, "d/a", "early")
	late := stage(t, s, "d/a", "late")
	put(t, s, "d/a", "first")
	for _, st := range []backend.Staged{early, late} {
		_, err := st.Commit(t.Context())
		WantKind(t, "Commit on a taken key", err, backend.ErrExist)
	}
	WantBody(t, s, "d/a", "first")
	abort(t, early)
	abort(t, late)
	WantBody(t, s, "d/a", "first")
}

func testStageRace(t *testing.T, target Target) {
	if !target.Store.Properties().CreateOnly {
		return
	}
	for round := range 5 {
		k := backend.Key(fmt.Sprintf("new%d/part", round))
		attempts := make([]backend.Staged, 6)
		for i := range attempts {
			attempts[i] = stage(t, target.Store, k, fmt.Sprintf("attempt %d", i))
		}
		// Puts and commits race with each other.
		winner := race(t, len(attempts)+2, func(i int) error {
			var err error
			if i < len(attempts) {
				_, err = attempts[i].Commit(t.Context())
			} else {
				_, err = target.Store.Put(t.Context(), Object(k, fmt.Appendf(nil, "attempt %d", i)))
			}
			return err
		})
		for _, st := range attempts {
			abort(t, st)
		}
		WantBody(t, target.Store, k, fmt.Sprintf("attempt %d", winner))
	}
}

func testAbort(t *testing.T, target Target) {
	st := stage(t, target.Store, "d/a", "given up")
	abort(t, st)
	abort(t, st)
	_, err := st.Commit(t.Context())
	WantKind(t, "Commit after Abort", err, backend.ErrGone)
	wantAbsent(t, target.Store, "d/a")
	wantNames(t, target.Store, "", "")
	put(t, target.Store, "d/a", "body")
	WantBody(t, target.Store, "d/a", "body")
}

func testExpire(t *testing.T, target Target) {
	if target.Expire == nil {
		return // what is staged here does not expire
	}
	st := stage(t, target.Store, "d/a", "lost")
	target.Expire(t)
	_, err := st.Commit(t.Context())
	WantKind(t, "Commit of what the store forgot", err, backend.ErrGone)
	wantAbsent(t, target.Store, "d/a")
	commit(t, stage(t, target.Store, "d/a", "again"))
	WantBody(t, target.Store, "d/a", "again")
}

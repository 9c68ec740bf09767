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
	"github.com/sinkfs/sinkfs/internal/faultproxy"
)

// Faults has every call to a store behind the proxy fail in every way, and
// does what a committer and a reader do then. In the end there is the one
// object, whole, and nothing else. An object of large bytes has several parts.
func Faults(t *testing.T, s backend.Store, proxy *faultproxy.Proxy, large int) {
	t.Helper()
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	many, few := Pattern(large), Pattern(300<<10)
	cases, hits := 0, 0
	for _, call := range faultproxy.Calls() {
		faults := faultproxy.Faults()
		if call == faultproxy.Complete {
			faults = append(faults, faultproxy.ErrorIn200)
		}
		for _, fault := range faults {
			t.Run(fmt.Sprintf("%s/%s", call, fault), func(t *testing.T) {
				f := &faulty{s, proxy, faultproxy.Rule{Call: call, Fault: fault, Count: 1}, 0}
				k := backend.Key(fmt.Sprintf("%s/%s", call, fault))
				f.publish(t, k.Join("small"), few, false)
				f.publish(t, k.Join("large"), many, true)
				f.giveUp(t, k.Join("lost"), few)
				f.read(t, k.Join("small"), few)
				f.list(t, k)
				f.delete(t, k.Join("small"))
				if f.hits == 0 {
					t.Error("no call was hit")
				}
				cases, hits = cases+1, hits+f.hits
			})
		}
	}
	t.Logf("%s: %d cases of call and fault, %d calls hit", s.Properties().URL, cases, hits)
}

type faulty struct {
	s     backend.Store
	proxy *faultproxy.Proxy
	rule  faultproxy.Rule
	hits  int
}

// set puts a rule in force, once it is known how often the one before hit.
func (f *faulty) set(rules ...faultproxy.Rule) {
	f.hits += f.proxy.Hits()
	f.proxy.Set(rules...)
}

// wantOneKind says that an error has a kind, one, and that a caller who
// hears it waits rather than gives up.
func wantOneKind(t *testing.T, what string, err error, allowed ...error) {
	t.Helper()
	var got []error
	for _, k := range kinds {
		if errors.Is(err, k) {
			got = append(got, k)
		}
	}
	if len(got) != 1 || !slices.Contains(allowed, got[0]) {
		t.Errorf("%s = %v, of the kinds %v, want one of %v", what, err, got, allowed)
	}
}

// publish goes by the commit rule: on any error look.
func (f *faulty) publish(t *testing.T, k backend.Key, body []byte, stage bool) {
	t.Helper()
	f.set(f.rule)
	o := Object(k, body)
	var staged backend.Staged
	for try := range 10 {
		if try == 9 {
			t.Fatalf("publishing %q does not end", k)
		}
		err := f.attempt(t, o, stage, &staged)
		if err == nil {
			break
		}
		wantOneKind(t, "publish", err, backend.ErrTransient, backend.ErrExist, backend.ErrGone)
		found, statErr := f.s.Stat(t.Context(), k)
		if statErr == nil {
			if found.Meta["sinkfs-part"] != "7" || found.Size != o.Size {
				t.Fatalf("Stat = %+v, want our object", found)
			}
			break
		}
		wantOneKind(t, "Stat", statErr, backend.ErrNotExist, backend.ErrTransient)
		if errors.Is(err, backend.ErrGone) {
			staged = nil
		}
	}
	if staged != nil {
		if err := staged.Abort(t.Context()); err != nil {
			t.Errorf("Abort = %v", err)
		}
	}
	f.set()
	WantBody(t, f.s, k, body)
	f.tidy(t, k)
}

// tidy finds no uploads, but for one whose beginning nobody heard: the key
// says whose it is.
func (f *faulty) tidy(t *testing.T, k backend.Key) {
	t.Helper()
	f.set()
	if n := AbortAll(t, f.s, k); n > 1 || n == 1 && f.rule.Call != faultproxy.Begin {
		t.Errorf("%d uploads of %q are left", n, k)
	}
}

// giveUp stages and aborts.
func (f *faulty) giveUp(t *testing.T, k backend.Key, body []byte) {
	t.Helper()
	f.set(f.rule)
	var staged backend.Staged
	for range 10 {
		if staged == nil {
			st, err := f.s.Stage(t.Context(), Object(k, body))
			if err != nil {
				wantOneKind(t, "Stage", err, backend.ErrTransient)
				continue
			}
			staged = st
		}
		err := staged.Abort(t.Context())
		if err == nil {
			break
		}
		wantOneKind(t, "Abort", err, backend.ErrTransient)
	}
	f.tidy(t, k)
	_, err := f.s.Stat(t.Context(), k)
	WantKind(t, "Stat", err, backend.ErrNotExist)
}

func (f *faulty) attempt(t *testing.T, o backend.Object, stage bool, staged *backend.Staged) error {
	t.Helper()
	if !stage {
		_, err := f.s.Put(t.Context(), o)
		return err
	}
	if *staged == nil {
		st, err := f.s.Stage(t.Context(), o)
		if err != nil {
			return err
		}
		*staged = st
	}
	_, err := (*staged).Commit(t.Context())
	return err
}

// read goes on where a connection broke.
func (f *faulty) read(t *testing.T, k backend.Key, want []byte) {
	t.Helper()
	f.set(f.rule)
	var got []byte
	for range 10 {
		r, err := f.s.Open(t.Context(), k, int64(len(got)), -1)
		if err != nil {
			wantOneKind(t, "Open", err, backend.ErrTransient)
			continue
		}
		some, err := io.ReadAll(r)
		_ = r.Close() // it was read
		got = append(got, some...)
		if err == nil {
			break
		}
		wantOneKind(t, "read", err, backend.ErrTransient)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, want %d, or others", len(got), len(want))
	}
}

func (f *faulty) list(t *testing.T, dir backend.Key) {
	t.Helper()
	f.set(f.rule)
	for range 10 {
		var names []string
		err := f.s.List(t.Context(), dir, "", func(name string, _ backend.Info) error {
			names = append(names, name)
			return nil
		})
		if err != nil {
			wantOneKind(t, "List", err, backend.ErrTransient)
			continue
		}
		if !slices.Equal(names, []string{"large", "small"}) {
			t.Errorf("List = %q", names)
		}
		break
	}
	if n := AbortAll(t, f.s, dir); n != 0 {
		t.Errorf("%d uploads are left", n)
	}
}

func (f *faulty) delete(t *testing.T, k backend.Key) {
	t.Helper()
	f.set(f.rule)
	for range 10 {
		err := f.s.Delete(t.Context(), k)
		if err == nil || errors.Is(err, backend.ErrNotExist) {
			break
		}
		wantOneKind(t, "Delete", err, backend.ErrTransient)
	}
	f.set()
	_, err := f.s.Stat(t.Context(), k)
	WantKind(t, "Stat", err, backend.ErrNotExist)
}

// Silent holds each call to its context, at a store that has the object there
// and does not answer any more.
func Silent(t *testing.T, s backend.Store, there backend.Key) {
	t.Helper()
	for name, call := range map[string]func(context.Context) error{
		"Check": s.Check,
		"Put": func(ctx context.Context) error {
			_, err := s.Put(ctx, Object("a", Pattern(5<<20)))
			return err
		},
		"Stage": func(ctx context.Context) error {
			_, err := s.Stage(ctx, Object("a", Pattern(5<<20)))
			return err
		},
		"Stat": func(ctx context.Context) error { _, err := s.Stat(ctx, there); return err },
		"Open": func(ctx context.Context) error { _, err := s.Open(ctx, there, 0, -1); return err },
		"List": func(ctx context.Context) error {
			return s.List(ctx, "", "", func(string, backend.Info) error { return nil })
		},
		"Delete": func(ctx context.Context) error { return s.Delete(ctx, there) },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		start := time.Now()
		err := call(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
			t.Errorf("%s = %v after %v", name, err, time.Since(start))
		}
		cancel()
	}
}

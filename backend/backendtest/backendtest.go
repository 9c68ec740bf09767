// Package backendtest is the suite that every driver passes.
package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sinkfs/sinkfs/backend"
)

// Target is an empty target and what the suite can do behind its back.
type Target struct {
	Store backend.Store
	// Foreign places an object that sinkfs knows nothing of.
	Foreign func(t *testing.T, k backend.Key, body []byte)
	// Expire makes the store forget everything staged; nil if it cannot.
	Expire func(t *testing.T)
	// Unlistable are characters that the server behind the driver garbles in
	// its listings.
	Unlistable string
	// NoChecksum is a store that keeps none.
	NoChecksum bool
}

// keeps says whether the store tells the checksum it should.
func (target Target) keeps(sum string) bool { return (sum == "") == target.NoChecksum }

// Run tests a driver. It calls open for each test: the target must be empty,
// and open leaves its removal to t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Target) {
	t.Helper()
	tests := []struct {
		name string
		run  func(t *testing.T, target Target)
	}{
		{"Properties", testProperties},
		{"CheckLeavesNothing", testCheck},
		{"PutRoundTrip", testPutRoundTrip},
		{"PutNeverOverwrites", testPutNeverOverwrites},
		{"PutRace", testPutRace},
		{"PutManyAtOnce", testPutMany},
		{"PutZeroTime", testPutZeroTime},
		{"BodyErrors", testBodyErrors},
		{"BodyCancelled", testBodyCancelled},
		{"StageIsInvisible", testStageInvisible},
		{"StageCommitTwice", testCommitTwice},
		{"StageCommitAfterError", testCommitAfterError},
		{"StageNeverOverwrites", testStageNeverOverwrites},
		{"StageRace", testStageRace},
		{"StageAbort", testAbort},
		{"StageExpires", testExpire},
		{"GrowIsInvisible", testGrowInvisible},
		{"GrowNothing", testGrowNothing},
		{"GrowWrongPieces", testGrowWrong},
		{"GrowNeverOverwrites", testGrowNeverOverwrites},
		{"GrowAbort", testGrowAbort},
		{"GrowExpires", testGrowExpires},
		{"GrowBodyErrors", testGrowBodyErrors},
		{"Ranges", testRanges},
		{"NotExist", testNotExist},
		{"Directories", testDirectories},
		{"DirectoryInTheWay", testInTheWay},
		{"RemoveDir", testRemoveDir},
		{"List", testList},
		{"ListStops", testListStops},
		{"ListByteOrder", testListByteOrder},
		{"ListLarge", testListLarge},
		{"OddNames", testOddNames},
		{"LongNames", testLongNames},
		{"ImpossibleNames", testImpossibleNames},
		{"Meta", testMeta},
		{"Foreign", testForeign},
		{"Delete", testDelete},
		{"Cancelled", testCancelled},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// Object makes one with everything set that a writer can set.
func Object(k backend.Key, body []byte) backend.Object {
	return backend.Object{
		Key: k, Size: int64(len(body)), Open: opener(body),
		Meta: backend.Meta{"sinkfs-instance": "0123abcd", "sinkfs-part": "7"},
		Mode: 0o640, UID: 1001, GID: 1002,
		ModTime: time.Date(2026, 1, 31, 9, 30, 1, 123456000, time.UTC),
	}
}

func opener(body []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
}

// Pattern is a body in which a misplaced piece shows.
func Pattern(size int) []byte {
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(i*7 + i>>8*13 + i>>16*31)
	}
	return body
}

func put(t *testing.T, s backend.Store, k backend.Key, body string) backend.Info {
	t.Helper()
	info, err := s.Put(t.Context(), Object(k, []byte(body)))
	if err != nil {
		t.Fatalf("Put(%q) = %v", k, err)
	}
	return info
}

func stage(t *testing.T, s backend.Store, k backend.Key, body string) backend.Staged {
	t.Helper()
	st, err := s.Stage(t.Context(), Object(k, []byte(body)))
	if err != nil {
		t.Fatalf("Stage(%q) = %v", k, err)
	}
	return st
}

func get(t *testing.T, s backend.Store, k backend.Key, off, n int64) []byte {
	t.Helper()
	r, err := s.Open(t.Context(), k, off, n)
	if err != nil {
		t.Fatalf("Open(%q, %d, %d) = %v", k, off, n, err)
	}
	defer r.Close()
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read %q from %d: %v", k, off, err)
	}
	return body
}

// WantBody holds an object to its body.
func WantBody[B []byte | string](t *testing.T, s backend.Store, k backend.Key, want B) {
	t.Helper()
	if got := get(t, s, k, 0, -1); string(got) != string(want) {
		t.Errorf("body of %q has %d bytes, %.60q, want %d, %.60q", k, len(got), got, len(want), want)
	}
}

func list(t *testing.T, s backend.Store, dir backend.Key, after string) []backend.Info {
	t.Helper()
	var all []backend.Info
	err := s.List(t.Context(), dir, after, func(name string, i backend.Info) error {
		if i.Key != dir.Join(name) {
			t.Errorf("List(%q) tells of %q with the key %q", dir, name, i.Key)
		}
		all = append(all, i)
		return nil
	})
	if err != nil {
		t.Fatalf("List(%q, after %q) = %v", dir, after, err)
	}
	return all
}

func wantNames(t *testing.T, s backend.Store, dir backend.Key, after string, want ...string) {
	t.Helper()
	got := []string{}
	for _, i := range list(t, s, dir, after) {
		_, name := i.Key.Split()
		if i.Dir {
			name += "/"
		}
		got = append(got, name)
	}
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("List(%q, after %q) (-want +got):\n%s", dir, after, diff)
	}
}

// WantKind is for errors that must be of one kind and no other.
func WantKind(t *testing.T, what string, err, kind error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s succeeded, want %v", what, kind)
		return
	}
	for _, k := range kinds {
		if got, want := errors.Is(err, k), errors.Is(k, kind); got != want {
			t.Errorf("%s = %v: is %q: %v, want %v", what, err, k, got, want)
		}
	}
}

// Says holds an error to a kind, and to words that tell what to do.
func Says(t *testing.T, what string, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s = %v, want %v", what, err, kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s = %v, want it to say %q", what, err, w)
		}
	}
}

// AbortAll aborts the uploads at and below a key, and counts them.
func AbortAll(t *testing.T, s backend.Store, under backend.Key) (n int) {
	t.Helper()
	l, ok := s.(backend.UploadLister)
	if !ok {
		t.Fatal("the store lists no uploads")
	}
	if err := l.Uploads(t.Context(), under, func(u backend.Upload) error {
		n++
		return l.AbortUpload(t.Context(), u)
	}); err != nil {
		t.Errorf("Uploads(%q) = %v", under, err)
	}
	return n
}

func wantAbsent(t *testing.T, s backend.Store, k backend.Key) {
	t.Helper()
	_, err := s.Stat(t.Context(), k)
	WantKind(t, fmt.Sprintf("Stat(%q)", k), err, backend.ErrNotExist)
}

var kinds = []error{
	backend.ErrNotExist, backend.ErrExist, backend.ErrPermission, backend.ErrGone,
	backend.ErrTransient, backend.ErrUnsupported, backend.ErrKey, backend.ErrNotEmpty,
}

// wantInfo compares all that a store must keep of our own objects.
func wantInfo(t *testing.T, got backend.Info, o backend.Object) {
	t.Helper()
	want := backend.Info{
		Key: o.Key, Size: o.Size, Meta: o.Meta, Owned: true,
		Mode: o.Mode, UID: o.UID, GID: o.GID, ModTime: o.ModTime,
	}
	got.Checksum, got.ModTime = "", got.ModTime.UTC()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Info (-want +got):\n%s", diff)
	}
}

// counted tells whether every body that a driver opened was closed.
type counted struct{ opened, closed atomic.Int64 }

func (c *counted) wrap(open func() (io.ReadCloser, error)) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		r, err := open()
		if err != nil {
			return nil, err
		}
		c.opened.Add(1)
		return closer{r, func() { c.closed.Add(1) }}, nil
	}
}

func (c *counted) check(t *testing.T) {
	t.Helper()
	if o, cl := c.opened.Load(), c.closed.Load(); o == 0 || o != cl {
		t.Errorf("bodies opened: %d, closed: %d", o, cl)
	}
}

type closer struct {
	io.Reader
	closed func()
}

func (c closer) Close() error {
	c.closed()
	return nil
}

// cancelled is a context that has ended.
func cancelled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func describe(k backend.Key) string {
	return strings.ToValidUTF8(fmt.Sprintf("%.40q", string(k)), "?")
}

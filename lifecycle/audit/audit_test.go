package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/lifecycle/audit"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

const uid = "0123abcd"

func meta(part, n, attempt int) backend.Meta {
	return backend.Meta{
		"sinkfs-instance": uid, "sinkfs-part": fmt.Sprint(part), "sinkfs-n": fmt.Sprint(n),
		"sinkfs-sink": "events", "sinkfs-attempt": fmt.Sprint(attempt), "sinkfs-records": "1",
	}
}

func put(t *testing.T, s backend.Store, k backend.Key, body string, m backend.Meta) backend.Info {
	t.Helper()
	info, err := s.Put(t.Context(), backend.Object{
		Key: k, Size: int64(len(body)), Meta: m, Mode: 0o444,
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// part is a journaled part of that object.
func part(id, n int, i backend.Info, state journal.PartState) journal.Part {
	return journal.Part{
		ID: uint64(id), Sink: "events", N: uint64(n), Key: string(i.Key), Bytes: i.Size, Checksum: i.Checksum,
		State: state, Checkpoint: 3, Attempt: 1,
	}
}

func records(more ...journal.Record) []journal.Record {
	return append([]journal.Record{
		journal.Instance{UID: uid}, journal.Counter{Sink: "\x00parts", Next: 100}, journal.Counter{Sink: "events", Next: 50},
	}, more...)
}

func fsck(t *testing.T, in audit.Input) audit.Report {
	t.Helper()
	r, err := audit.Fsck(t.Context(), in)
	if err != nil {
		t.Fatalf("Fsck = %v", err)
	}
	return r
}

// wantRows compares areas, kinds, paths and bytes; explanations only have to
// be there.
func wantRows(t *testing.T, r audit.Report, want ...audit.Row) {
	t.Helper()
	got := slices.Clone(r.Rows)
	var problems int64
	for i, row := range got {
		if row.Explanation == "" {
			t.Errorf("%s %s is not explained", row.Kind, row.Path)
		}
		if row.Problem {
			problems++
		}
		got[i].Explanation = ""
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if problems != r.Problems {
		t.Errorf("%d problems are reported, %d rows are", r.Problems, problems)
	}
}

func object(kind audit.Kind, path string, n int64) audit.Row {
	return audit.Row{Area: audit.Target, Kind: kind, Path: path, Bytes: n}
}

func spooled(kind audit.Kind, path string, n int64) audit.Row {
	return audit.Row{Area: audit.Spool, Kind: kind, Path: path, Bytes: n}
}

func problem(r audit.Row) audit.Row {
	r.Problem = true
	return r
}

func TestObjects(t *testing.T) {
	s := mem.New(mem.Options{})
	other := meta(1, 1, 0)
	other["sinkfs-instance"] = "ffff0000"
	damaged := meta(2, 2, 0)
	delete(damaged, "sinkfs-part")
	noSink := meta(98, 49, 0)
	delete(noSink, "sinkfs-sink")

	finished := part(10, 10, put(t, s, "events/finished", "finished", meta(10, 10, 1)), journal.Finished)
	committing := part(11, 11, put(t, s, "events/committing", "committing", meta(11, 11, 0)), journal.Committing)
	retired := part(12, 12, put(t, s, "events/in-manifest", "manifest", meta(12, 12, 0)), journal.Finished)
	pending := part(13, 13, put(t, s, "events/too-early", "too early", meta(13, 13, 0)), journal.Pending)
	shorter := part(14, 14, put(t, s, "events/shorter", "shorter", meta(14, 14, 0)), journal.Finished)
	shorter.Bytes = 9
	differs := part(15, 15, put(t, s, "events/differs", "differs", meta(15, 15, 0)), journal.Finished)
	differs.Checksum = "crc32c:00000000"
	otherSum := part(16, 16, put(t, s, "events/other-sum", "other sum", meta(16, 16, 0)), journal.Finished)
	otherSum.Checksum = "crc64ecma:0000000000000000"
	moved := part(17, 18, put(t, s, "events/moved-new", "moved", meta(17, 18, 1)), journal.Finished)
	put(t, s, "events/moved-old", "moved", meta(17, 17, 0))
	elsewhere := part(22, 24, backend.Info{Key: "events/elsewhere-new", Size: 9}, journal.Committing)
	put(t, s, "events/elsewhere", "elsewhere", meta(22, 23, 0))
	newer := part(18, 19, put(t, s, "events/newer-attempt", "newer", meta(18, 19, 7)), journal.Finished)
	gone := part(19, 20, backend.Info{Key: "events/gone", Size: 77}, journal.Finished)
	notYet := part(20, 21, backend.Info{Key: "events/not-yet", Size: 78}, journal.Committing)
	replaced := part(21, 22, backend.Info{Key: "events/replaced", Size: 8}, journal.Finished)
	s.Foreign("events/replaced", []byte("replaced"))
	put(t, s, "events/old", "old", meta(1, 1, 0))
	put(t, s, "events/old-again", "old", meta(1, 1, 0))
	put(t, s, "events/no-sink", "no sink", noSink)
	ofFiles := meta(3, 0, 1)
	ofFiles["sinkfs-sink"] = "files"
	put(t, s, "files/old.csv", "a file", ofFiles)
	put(t, s, "events/above-n", "above", meta(99, 50, 0))
	put(t, s, "events/above-part", "above", meta(100, 49, 0))
	put(t, s, "events/other", "other", other)
	put(t, s, "events/damaged", "damaged", damaged)
	put(t, s, "_sinkfs/0123abcd/3.json", "{}", backend.Meta{"sinkfs-instance": uid})
	s.Foreign("foreign", []byte("foreign"))
	// A file's part stays until its spool file is gone; what became of the
	// object is told by the manifest of its checkpoint, as long as that is kept.
	expired := part(23, 0, backend.Info{Key: "files/deleted-long-ago", Size: 5}, journal.Finished)
	expired.File, expired.Checkpoint = true, 2
	vanished := part(24, 0, backend.Info{Key: "files/vanished", Size: 6}, journal.Finished)
	vanished.File = true

	r := fsck(t, audit.Input{Store: s, State: audit.Fixed(audit.State{
		Records: records(finished, committing, pending, shorter, differs, otherSum, moved, newer, gone, notYet, replaced, elsewhere, expired, vanished, journal.Checkpoint{ID: 3}),
		Retired: []journal.Part{retired},
	})})
	wantRows(t, r,
		object(audit.Manifest, "_sinkfs/0123abcd/3.json", 2),
		problem(object(audit.Orphan, "events/above-n", 5)),
		problem(object(audit.Orphan, "events/above-part", 5)),
		object(audit.Committing, "events/committing", 10),
		problem(object(audit.Orphan, "events/damaged", 7)),
		problem(object(audit.Mismatch, "events/differs", 7)),
		problem(object(audit.Orphan, "events/elsewhere", 9)),
		object(audit.Finished, "events/finished", 8),
		problem(object(audit.Missing, "events/gone", 77)),
		object(audit.Finished, "events/in-manifest", 8),
		object(audit.Finished, "events/moved-new", 5),
		problem(object(audit.Duplicate, "events/moved-old", 5)),
		problem(object(audit.Orphan, "events/newer-attempt", 5)),
		object(audit.Finished, "events/no-sink", 7),
		object(audit.Finished, "events/old", 3),
		problem(object(audit.Duplicate, "events/old-again", 3)),
		object(audit.Other, "events/other", 5),
		object(audit.Finished, "events/other-sum", 9),
		object(audit.Foreign, "events/replaced", 8),
		problem(object(audit.Mismatch, "events/replaced", 8)),
		problem(object(audit.Mismatch, "events/shorter", 7)),
		problem(object(audit.Orphan, "events/too-early", 9)),
		object(audit.Finished, "files/old.csv", 6),
		problem(object(audit.Missing, "files/vanished", 6)),
		object(audit.Foreign, "foreign", 7),
	)
}

func TestObjectsWithoutAJournal(t *testing.T) {
	s := mem.New(mem.Options{})
	put(t, s, "events/ours", "ours", meta(10, 10, 0))
	s.Foreign("foreign", []byte("foreign"))
	r := fsck(t, audit.Input{Store: s, State: audit.Fixed(audit.State{})})
	wantRows(t, r, object(audit.Finished, "events/ours", 4), object(audit.Foreign, "foreign", 7))
}

func TestBodies(t *testing.T) {
	s := mem.New(mem.Options{})
	put(t, s, "events/a", "body", meta(1, 1, 0))
	good := audit.Input{Store: s, State: audit.Fixed(audit.State{Records: records()}), Bodies: true}
	wantRows(t, fsck(t, good), object(audit.Finished, "events/a", 4))
	rotten := good
	rotten.Store = rottenStore{s}
	wantRows(t, fsck(t, rotten), problem(object(audit.Mismatch, "events/a", 4)))
}

// rottenStore returns other bytes than those that were stored.
type rottenStore struct{ backend.Store }

func (rottenStore) Open(context.Context, backend.Key, int64, int64) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader([]byte("bodY"))), nil
}

// TestBesideARunningMount: what is published while the target is walked is no
// orphan, and what is deleted meanwhile is no problem.
func TestBesideARunningMount(t *testing.T) {
	s := mem.New(mem.Options{})
	first := part(10, 10, put(t, s, "events/a", "a", meta(10, 10, 0)), journal.Finished)
	second := part(100, 50, put(t, s, "events/b", "b", meta(100, 50, 0)), journal.Finished)
	put(t, s, "events/c", "c", meta(101, 51, 0))
	after := part(102, 52, put(t, s, "aaa", "published behind the walk", meta(102, 52, 0)), journal.Finished)
	calls := 0
	walking := &hiding{Store: s, hidden: "aaa"}
	r := fsck(t, audit.Input{Store: walking, State: func(ctx context.Context) (audit.State, error) {
		if calls++; calls == 1 {
			return audit.State{Records: records(first)}, nil
		}
		if err := s.Delete(ctx, "events/c"); calls == 2 && err != nil {
			t.Error(err)
		}
		return audit.State{Records: records(first, second, after,
			journal.Counter{Sink: "\x00parts", Next: 103}, journal.Counter{Sink: "events", Next: 53})}, nil
	}})
	wantRows(t, r,
		object(audit.Finished, "aaa", 25), object(audit.Finished, "events/a", 1), object(audit.Finished, "events/b", 1))
}

// hiding lists all but one object.
type hiding struct {
	backend.Store
	hidden string
}

func (h *hiding) List(ctx context.Context, dir backend.Key, after string, fn func(string, backend.Info) error) error {
	return h.Store.List(ctx, dir, after, func(name string, i backend.Info) error {
		if name == h.hidden {
			return nil
		}
		return fn(name, i)
	})
}

func TestManyObjects(t *testing.T) {
	s := mem.New(mem.Options{})
	for i := range 2500 {
		s.Foreign(backend.Key(fmt.Sprintf("d%d/%04d", i%2, i)), []byte("x"))
	}
	rows := 0
	r := fsck(t, audit.Input{Store: s, State: audit.Fixed(audit.State{}), Row: func(audit.Row) error {
		rows++
		return nil
	}})
	if want := []audit.Total{{Area: audit.Target, Kind: audit.Foreign, Rows: 2500, Bytes: 2500}}; rows != 2500 || len(r.Rows) != 0 ||
		!slices.Equal(r.Totals, want) {
		t.Errorf("%d rows given, %d kept, totals %+v, want %+v", rows, len(r.Rows), r.Totals, want)
	}
}

func TestErrorsAreNotFindings(t *testing.T) {
	failure := errors.New("down")
	for _, op := range []mem.Op{mem.List, mem.Stat, mem.Open} {
		s := mem.New(mem.Options{Before: func(_ context.Context, o mem.Op, _ backend.Key) error {
			if o == op {
				return failure
			}
			return nil
		}})
		put(t, s, "events/a", "body", meta(1, 1, 0))
		_, err := audit.Fsck(t.Context(), audit.Input{Store: s, State: audit.Fixed(audit.State{Records: records()}), Bodies: true})
		if !errors.Is(err, failure) {
			t.Errorf("Fsck when %s fails = %v", op, err)
		}
	}
	_, err := audit.Fsck(t.Context(), audit.Input{Store: mem.New(mem.Options{}), State: func(context.Context) (audit.State, error) {
		return audit.State{}, failure
	}})
	if !errors.Is(err, failure) {
		t.Errorf("Fsck without a state = %v", err)
	}
}

func TestReportIsJSON(t *testing.T) {
	s := mem.New(mem.Options{})
	s.Foreign("a", []byte("body"))
	got, err := json.Marshal(fsck(t, audit.Input{Store: s, State: audit.Fixed(audit.State{Records: records()})}))
	want := `{"instance":"0123abcd","problems":0,"totals":[{"area":"target","kind":"foreign","rows":1,"bytes":4}],` +
		`"rows":[{"area":"target","kind":"foreign","path":"a","bytes":4,"explanation":"it carries no mark of sinkfs","problem":false}]}`
	if err != nil || string(got) != want {
		t.Errorf("JSON %s, %v\nwant %s", got, err, want)
	}
}

// TestWalkOfANameThatIsBoth: a directory whose name an object has too is walked
// wherever a batch ends.
func TestWalkOfANameThatIsBoth(t *testing.T) {
	s := mem.New(mem.Options{})
	for i := range 999 {
		s.Foreign(backend.Key(fmt.Sprintf("a%04d", i)), nil)
	}
	s.Foreign("b", nil)
	s.Foreign("b/part-1", []byte("x"))
	s.Foreign("c", nil)
	below := false
	if err := audit.Walk(t.Context(), s, func(i backend.Info) error {
		below = below || i.Key == "b/part-1"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !below {
		t.Error("b/part-1 was not walked")
	}
}

// plain is a store that keeps no checksums, as s3 with checksum: none.
type plain struct{ backend.Store }

func (p plain) Stat(ctx context.Context, k backend.Key) (backend.Info, error) {
	i, err := p.Store.Stat(ctx, k)
	i.Checksum = ""
	return i, err
}

// TestBodiesWithoutAChecksumOfTheStore: the journal knows what was staged.
func TestBodiesWithoutAChecksumOfTheStore(t *testing.T) {
	s := mem.New(mem.Options{})
	meta := backend.Meta{"sinkfs-instance": "u1", "sinkfs-part": "7", "sinkfs-n": "3", "sinkfs-attempt": "1", "sinkfs-sink": ""}
	body := []byte("wrong bytes!")
	if _, err := s.Put(t.Context(), backend.Object{
		Key: "h/part-u1-3", Size: int64(len(body)), Meta: meta,
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
	}); err != nil {
		t.Fatal(err)
	}
	r, err := audit.Fsck(t.Context(), audit.Input{Store: plain{s}, Bodies: true, State: audit.Fixed(audit.State{Records: []journal.Record{
		journal.Instance{UID: "u1"},
		journal.Counter{Sink: "\x00parts", Next: 8},
		journal.Counter{Sink: "", Next: 4},
		journal.Checkpoint{ID: 1},
		journal.Part{ID: 7, N: 3, Key: "h/part-u1-3", Bytes: int64(len(body)), Checksum: "crc32c:deadbeef", State: journal.Finished, Checkpoint: 1, Attempt: 1},
	}})})
	if err != nil {
		t.Fatal(err)
	}
	if r.Problems == 0 {
		t.Error("fsck --bodies is clean, the bytes are not those of the journal's crc32c:deadbeef")
	}
}

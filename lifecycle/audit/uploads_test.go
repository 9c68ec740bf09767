package audit_test

import (
	"context"
	"errors"
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

// shelf is a store with uploads, of which some are told only by their key.
type shelf struct {
	*mem.Store
	open, byKey []backend.Upload
}

func (s *shelf) Uploads(_ context.Context, under backend.Key, fn func(backend.Upload) error) error {
	for _, u := range s.open {
		if under != "" && u.Key != under || under == "" && slices.Contains(s.byKey, u) {
			continue
		}
		if err := fn(u); err != nil {
			return err
		}
	}
	return nil
}

func (s *shelf) AbortUpload(_ context.Context, u backend.Upload) error {
	s.open = slices.DeleteFunc(s.open, func(o backend.Upload) bool { return o.Key == u.Key && o.ID == u.ID })
	return nil
}

func TestUploads(t *testing.T) {
	up := func(key backend.Key, id string) backend.Upload { return backend.Upload{Key: key, ID: id} }
	s := &shelf{Store: mem.New(mem.Options{}), open: []backend.Upload{
		up("events/part-1111-10", "finished"), up("events/part-1111-11", "waiting"), up("events/part-1111-11", "waiting too"),
		up("events/part-"+uid+"-7", "given up"), up("dumps/theirs.gz", "of others"), up("dumps/ours.gz", "retired"), up("events/part-2222-1", "of another host"),
		up(backend.Probe, "probe"),
	}}
	s.byKey = []backend.Upload{s.open[0], s.open[7]}
	finished := part(10, 10, put(t, s, "events/part-1111-10", "a", meta(10, 10, 0)), journal.Finished)
	waiting := part(11, 11, backend.Info{Key: "events/part-1111-11", Size: 5}, journal.Committing)
	put(t, s, "dumps/ours.gz", "x", meta(2, 2, 0))
	s.Foreign("dumps/theirs.gz", []byte("x"))
	in := audit.Input{Store: s, State: audit.Fixed(audit.State{Records: records(finished, waiting)})}

	got := map[string]audit.Kind{}
	report := fsck(t, in)
	for _, r := range report.Rows {
		if r.Area == audit.Uploads {
			got[r.Upload] = r.Kind
		}
	}
	if d := cmp.Diff(map[string]audit.Kind{
		"finished": audit.Abandoned, "waiting": audit.Pending, "waiting too": audit.Pending, "given up": audit.Abandoned,
		"of others": audit.Foreign, "retired": audit.Abandoned, "of another host": audit.Foreign,
		"probe": audit.Abandoned,
	}, got); d != "" || report.Problems != 0 {
		t.Errorf("%d problems, uploads (-want +got)\n%s", report.Problems, d)
	}
	rows, err := audit.Garbage(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if err := audit.Remove(t.Context(), in, r); err != nil {
			t.Errorf("Remove(%+v) = %v", r, err)
		}
	}
	left := []string{}
	for _, u := range s.open {
		left = append(left, u.ID)
	}
	if d := cmp.Diff([]string{"waiting", "waiting too", "of others", "of another host"}, left); d != "" {
		t.Errorf("uploads left by gc (-want +got)\n%s", d)
	}
	stays := audit.Row{Area: audit.Uploads, Path: "events/part-1111-11", Upload: "waiting", Kind: audit.Abandoned}
	if err := audit.Remove(t.Context(), in, stays); !errors.Is(err, audit.ErrReferenced) {
		t.Errorf("Remove of an upload in use = %v", err)
	}
}

// TestFormerInstances: what was made before the journal was rebuilt is still
// this instance's.
func TestFormerInstances(t *testing.T) {
	s := &shelf{Store: mem.New(mem.Options{}), open: []backend.Upload{{Key: "events/part-old-7", ID: "left"}}}
	old := meta(10, 10, 1)
	old["sinkfs-instance"] = "old"
	info := put(t, s, "events/part-old-10", "a", old)
	put(t, s, "events/part-old-11", "a", old)
	finished := part(10, 10, info, journal.Finished)
	state := records(finished)
	state[0] = journal.Instance{UID: uid, Former: []string{"older", "old"}}
	in := audit.Input{Store: s, State: audit.Fixed(audit.State{Records: state})}
	wantRows(t, fsck(t, in),
		audit.Row{Area: audit.Uploads, Kind: audit.Abandoned, Path: "events/part-old-7", Upload: "left"},
		object(audit.Finished, "events/part-old-10", 1), problem(object(audit.Duplicate, "events/part-old-11", 1)))
	rows, err := audit.Garbage(t.Context(), in)
	if err != nil || len(rows) != 2 {
		t.Fatalf("garbage %+v, %v", rows, err)
	}
	for _, r := range rows {
		if err := audit.Remove(t.Context(), in, r); err != nil {
			t.Errorf("Remove(%+v) = %v", r, err)
		}
	}
	wantRows(t, fsck(t, in), object(audit.Finished, "events/part-old-10", 1))
}

// TestUploadOfACopiedPart: another host that copies one of our parts into a
// file sink of its own uploads it under our name. That is not ours to abort.
func TestUploadOfACopiedPart(t *testing.T) {
	s := mem.New(mem.Options{Unit: 4})
	body := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("12345678")), nil }
	g, err := s.Grow(t.Context(), backend.Object{Key: "archive/part-uidA-3", Size: 8, Meta: backend.Meta{"sinkfs-instance": "uidB"}})
	if err == nil {
		err = g.Append(t.Context(), backend.Piece{Size: 8, Open: body})
	}
	if err != nil {
		t.Fatal(err)
	}
	upload, err := g.Seal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in := audit.Input{Store: s, State: audit.Fixed(audit.State{Records: []journal.Record{
		journal.Instance{UID: "uidA"},
		journal.Checkpoint{ID: 1},
		journal.Part{ID: 7, N: 3, Key: "events/h/part-uidA-3", Bytes: 8, State: journal.Finished, Checkpoint: 1, Attempt: 1},
	}})}
	rows, err := audit.Garbage(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		_ = audit.Remove(t.Context(), in, r)
	}
	if _, err := upload.Commit(t.Context()); err != nil {
		t.Errorf("the upload of the other host: %v", err)
	}
}

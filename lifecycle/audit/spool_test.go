package audit_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/lifecycle/audit"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

func source(ino uint64, path string, kind spool.Kind, size, done int64) audit.Source {
	return audit.Source{ID: journal.SourceID{Ino: ino}, Path: path, Kind: kind, Size: size, Done: done}
}

func sealed(id int, state journal.PartState, ino uint64, path string, off, n int64) journal.Part {
	return journal.Part{
		ID: uint64(id), Sink: "events", Key: fmt.Sprint("events/", id), State: state,
		Ranges: []journal.PartRange{{Source: journal.SourceID{Ino: ino}, Path: path, Range: journal.Range{Off: off, Len: n}}},
	}
}

func done(ino uint64, ranges ...journal.Range) journal.Source {
	return journal.Source{ID: journal.SourceID{Ino: ino}, Finished: ranges}
}

func TestSpool(t *testing.T) {
	r := fsck(t, audit.Input{Store: mem.New(mem.Options{}), State: audit.Fixed(audit.State{
		Records: records(
			done(1, journal.Range{Off: 0, Len: 500}, journal.Range{Off: 600, Len: 50}),
			sealed(1, journal.Committing, 1, "a", 500, 100),
			sealed(2, journal.Pending, 1, "a", 650, 30),
			sealed(3, journal.Quarantined, 1, "a", 680, 20),
			sealed(4, journal.Pending, 2, "file.gz", 0, 40),
			sealed(9, journal.Pending, 9, "gone", 10, 60),
			journal.Source{ID: journal.SourceID{Ino: 10}, Finished: []journal.Range{{Off: 0, Len: 500}}, Leaving: true}, // finished, then removed
			sealed(12, journal.Finished, 12, "deleted.gz", 0, 50),
			journal.Source{ID: journal.SourceID{Ino: 11}, Path: "by-hand", Finished: []journal.Range{{Off: 0, Len: 500}}},
		),
		Sources: []audit.Source{
			source(12, "deleted.gz", spool.File, 50, 0),
			source(1, "a", spool.Stream, 1000, 400), source(2, "file.gz", spool.File, 40, 0), source(3, "open.gz", spool.File, 70, 0),
			source(4, ".x.swp", spool.Scratch, 80, 0), source(5, "empty", spool.Stream, 0, 0), source(6, "new", spool.Stream, 90, 0),
		},
		Deleted: []uint64{12},
	})})
	wantRows(t, r,
		spooled(audit.Scratch, ".x.swp", 80),
		spooled(audit.Released, "a", 400),
		spooled(audit.Finished, "a", 150),
		spooled(audit.Committing, "a", 100),
		spooled(audit.Pending, "a", 30),
		problem(spooled(audit.Quarantined, "a", 20)),
		spooled(audit.Unsealed, "a", 300),
		problem(spooled(audit.Lost, "by-hand", 0)),
		spooled(audit.Finished, "deleted.gz", 50),
		spooled(audit.Pending, "file.gz", 40),
		problem(spooled(audit.Lost, "gone", 60)),
		spooled(audit.Unsealed, "new", 90),
		spooled(audit.Unsealed, "open.gz", 70),
	)
}

func TestSpoolProblems(t *testing.T) {
	for _, test := range []struct {
		name    string
		source  audit.Source
		records []journal.Record
		want    []audit.Row
	}{
		{
			"shorter than the journal knows", source(1, "a", spool.Stream, 80, 0),
			[]journal.Record{done(1, journal.Range{Off: 0, Len: 50}), sealed(1, journal.Pending, 1, "a", 50, 50)},
			[]audit.Row{problem(spooled(audit.Lost, "a", 20)), spooled(audit.Finished, "a", 50), spooled(audit.Pending, "a", 30)},
		},
		{
			"released and not finished", source(1, "a", spool.Stream, 100, 60),
			[]journal.Record{done(1, journal.Range{Off: 0, Len: 50}), sealed(1, journal.Pending, 1, "a", 50, 50)},
			[]audit.Row{problem(spooled(audit.Lost, "a", 10)), spooled(audit.Released, "a", 50), spooled(audit.Pending, "a", 50)},
		},
		{
			"sealed though finished", source(1, "a", spool.Stream, 100, 0),
			[]journal.Record{done(1, journal.Range{Off: 0, Len: 50}), sealed(1, journal.Pending, 1, "a", 40, 60)},
			[]audit.Row{problem(spooled(audit.Duplicate, "a", 10)), spooled(audit.Finished, "a", 50), spooled(audit.Pending, "a", 50)},
		},
		{
			"in two parts", source(1, "a", spool.Stream, 100, 0),
			[]journal.Record{sealed(1, journal.Pending, 1, "a", 0, 60), sealed(2, journal.Committing, 1, "a", 50, 50)},
			[]audit.Row{problem(spooled(audit.Duplicate, "a", 10)), spooled(audit.Committing, "a", 40), spooled(audit.Pending, "a", 60)},
		},
		{
			"in a large part and in small ones", source(1, "a", spool.Stream, 100, 0),
			[]journal.Record{
				sealed(1, journal.Pending, 1, "a", 0, 90), sealed(2, journal.Pending, 1, "a", 10, 10), sealed(3, journal.Pending, 1, "a", 50, 20),
			},
			[]audit.Row{
				problem(spooled(audit.Duplicate, "a", 10)), problem(spooled(audit.Duplicate, "a", 20)),
				spooled(audit.Pending, "a", 90), spooled(audit.Unsealed, "a", 10),
			},
		},
		{
			"finished, told by the part and by the source", source(1, "a", spool.Stream, 100, 0),
			[]journal.Record{
				done(1, journal.Range{Off: 0, Len: 100}), sealed(1, journal.Finished, 1, "a", 0, 60), sealed(2, journal.Finished, 1, "a", 60, 40),
			},
			[]audit.Row{spooled(audit.Finished, "a", 100)},
		},
		{
			"finished in two parts", source(1, "a", spool.Stream, 100, 0),
			[]journal.Record{
				done(1, journal.Range{Off: 0, Len: 100}), sealed(1, journal.Finished, 1, "a", 0, 60), sealed(2, journal.Finished, 1, "a", 55, 45),
			},
			[]audit.Row{problem(spooled(audit.Duplicate, "a", 5)), spooled(audit.Finished, "a", 100)},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := mem.New(mem.Options{})
			var all []journal.Record
			for _, r := range test.records {
				if p, ok := r.(journal.Part); ok && p.State == journal.Finished {
					i := put(t, s, backend.Key(p.Key), "", meta(int(p.ID), 1, 0))
					p.Checksum, r = i.Checksum, p
				}
				all = append(all, r)
			}
			r := fsck(t, audit.Input{Store: s, State: audit.Fixed(audit.State{Records: records(all...), Sources: []audit.Source{test.source}})})
			r.Rows = slices.DeleteFunc(r.Rows, func(row audit.Row) bool { return row.Area == audit.Target })
			wantRows(t, r, test.want...)
		})
	}
}

// TestSpoolBesideARunningMount: records and sizes of two moments look like a
// loss until one looks again.
func TestSpoolBesideARunningMount(t *testing.T) {
	calls := 0
	r := fsck(t, audit.Input{Store: mem.New(mem.Options{}), State: func(context.Context) (audit.State, error) {
		calls++
		s := audit.State{Records: records(done(1, journal.Range{Off: 0, Len: 50})), Sources: []audit.Source{source(1, "a", spool.Stream, 100, 60)}}
		if calls > 2 {
			s.Records = records(done(1, journal.Range{Off: 0, Len: 60}))
		}
		return s, nil
	}})
	wantRows(t, r, spooled(audit.Released, "a", 60), spooled(audit.Unsealed, "a", 40))
}

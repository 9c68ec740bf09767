// Package audit accounts for every object of a target and every byte of a
// spool: who made it, why it is there, and what is wrong with it. It removes
// only what it proved to be garbage (gc.go), needs no journal of its own, and
// works beside a running mount as well as on a state directory that nobody
// uses.
package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// Input is what Fsck looks at.
type Input struct {
	Store backend.Store
	// State returns what the instance knows at this moment. It is called
	// before the target is walked and again behind it, because a mount that
	// runs goes on meanwhile. Fixed is for one that does not.
	State func(ctx context.Context) (State, error)
	// Bodies reads every object of ours and compares it with its checksum.
	Bodies bool
	// Row gets the rows one by one, for a target too large to keep them. When
	// it is nil they are in the Report.
	Row func(Row) error
}

// State is what an instance knows. Without an Instance record there is no
// journal at hand, and objects are explained by their metadata only.
type State struct {
	Records []journal.Record // as the journal loads them
	Retired []journal.Part   // finished, out of the journal, in retained manifests
	Deleted []uint64         // parts whose files were deleted through the mount
	Sources []Source
}

// Source is one spool file.
type Source struct {
	ID         journal.SourceID
	Path       string
	Kind       spool.Kind
	Size, Done int64 // physical size; released up to
	Unlinked   bool
}

// Fixed is the State of an instance that does not run.
func Fixed(s State) func(context.Context) (State, error) {
	return func(context.Context) (State, error) { return s, nil }
}

// Area is where something was found.
type Area string

// The areas.
const (
	Target  Area = "target"
	Uploads Area = "uploads" // staged at the store, seen by nobody
	Spool   Area = "spool"
)

// Kind is the explanation of an object or of bytes, in a word.
type Kind string

// The kinds. Those from Orphan on are problems, and Quarantined is.
const (
	Finished    Kind = "finished"    // a part, or bytes that are in one
	Committing  Kind = "committing"  // in a prepared checkpoint
	Pending     Kind = "pending"     // sealed, waiting for a checkpoint
	Quarantined Kind = "quarantined" // cannot be published
	Unsealed    Kind = "unsealed"    // in no part yet
	Released    Kind = "released"    // finished, given back to the file system
	Scratch     Kind = "scratch"     // never published under this name
	Manifest    Kind = "manifest"    // of a checkpoint
	Other       Kind = "other"       // of another instance
	Foreign     Kind = "foreign"     // not made by sinkfs
	Abandoned   Kind = "abandoned"   // an upload that nobody will complete

	Orphan    Kind = "orphan"    // ours, and nothing refers to it
	Duplicate Kind = "duplicate" // the same part, or the same bytes, twice
	Mismatch  Kind = "mismatch"  // not the bytes that were published
	Missing   Kind = "missing"   // published, and not there
	Lost      Kind = "lost"      // bytes that the spool should have
)

// Row explains one object, or the bytes of one kind of one spool file.
type Row struct {
	Area        Area   `json:"area"`
	Kind        Kind   `json:"kind"`
	Path        string `json:"path"`
	Bytes       int64  `json:"bytes"`
	Upload      string `json:"upload,omitempty"` // the store's id of an upload
	Explanation string `json:"explanation"`
	Problem     bool   `json:"problem"`
}

// Total sums the rows of one area and kind.
type Total struct {
	Area  Area  `json:"area"`
	Kind  Kind  `json:"kind"`
	Rows  int64 `json:"rows"`
	Bytes int64 `json:"bytes"`
}

// Report is what Fsck found. It is clean when Problems is 0.
type Report struct {
	Instance string  `json:"instance"` // "" without a journal
	Problems int64   `json:"problems"`
	Totals   []Total `json:"totals"`
	Rows     []Row   `json:"rows"` // by area and path
}

// Fsck explains everything. The error is of the looking, not of what was
// found: a store that does not answer, a State that cannot be had.
func Fsck(ctx context.Context, in Input) (Report, error) {
	a := &audit{in: in, seen: map[uint64]backend.Key{}, totals: map[Total]*Total{}}
	if err := a.target(ctx); err != nil {
		return Report{}, err
	}
	if err := a.uploads(ctx); err != nil {
		return Report{}, err
	}
	if err := a.spool(ctx); err != nil {
		return Report{}, err
	}
	for _, t := range a.totals {
		a.report.Totals = append(a.report.Totals, *t)
	}
	slices.SortFunc(a.report.Totals, func(x, y Total) int {
		return cmp.Or(-cmp.Compare(x.Area, y.Area), cmp.Compare(x.Kind, y.Kind))
	})
	slices.SortStableFunc(a.report.Rows, func(x, y Row) int {
		return cmp.Or(-cmp.Compare(x.Area, y.Area), cmp.Compare(x.Path, y.Path))
	})
	return a.report, nil
}

// audit is one run of Fsck.
type audit struct {
	in     Input
	known  *index
	seen   map[uint64]backend.Key // parts of ours that are in the target
	doubts []backend.Key          // looked wrong at first sight
	staged []backend.Key          // objects of ours that were uploads once
	totals map[Total]*Total       // by area and kind
	report Report
}

// know takes a fresh State.
func (a *audit) know(ctx context.Context) error {
	s, err := a.in.State(ctx)
	if err != nil {
		return fmt.Errorf("state of the instance: %w", err)
	}
	a.known = newIndex(s)
	a.report.Instance = a.known.uid
	return nil
}

func (a *audit) tell(r Row) error {
	r.Problem = r.Kind.problem()
	if r.Problem {
		a.report.Problems++
	}
	key := Total{Area: r.Area, Kind: r.Kind}
	t := a.totals[key]
	if t == nil {
		t = &Total{Area: r.Area, Kind: r.Kind}
		a.totals[key] = t
	}
	t.Rows++
	t.Bytes += r.Bytes
	if a.in.Row != nil {
		return a.in.Row(r)
	}
	a.report.Rows = append(a.report.Rows, r)
	return nil
}

func (k Kind) problem() bool {
	switch k {
	case Orphan, Duplicate, Mismatch, Missing, Lost, Quarantined:
		return true
	case Finished, Committing, Pending, Unsealed, Released, Scratch, Manifest, Other, Foreign, Abandoned:
	}
	return false
}

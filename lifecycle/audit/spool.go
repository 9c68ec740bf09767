package audit

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// looks bounds how often the spool is looked at again when something is wrong
// with it: beside a running mount, records and sizes are never of one moment.
const looks = 3

// spool explains every byte of the spool.
func (a *audit) spool(ctx context.Context) error {
	if a.known.uid == "" && len(a.known.sources) == 0 {
		return nil
	}
	rows := a.known.spool()
	for range looks - 1 {
		if !slices.ContainsFunc(rows, func(r Row) bool { return r.Kind.problem() }) {
			break
		}
		if err := a.know(ctx); err != nil {
			return err
		}
		rows = a.known.spool()
	}
	for _, r := range rows {
		if err := a.tell(r); err != nil {
			return err
		}
	}
	return nil
}

// span is a range of a source and what it is.
type span struct {
	journal.Range
	kind Kind
	part uint64 // noPart for what the journal keeps of the source itself
}

const noPart = math.MaxUint64

func (s span) end() int64 { return s.Off + s.Len }

// spool explains all sources by path, then parts whose bytes are gone.
func (x *index) spool() []Row {
	spans := map[journal.SourceID][]span{}
	paths := map[journal.SourceID]string{}
	for id, s := range x.streams {
		paths[id], spans[id] = s.Path, nil
		for _, r := range s.Finished {
			spans[id] = append(spans[id], span{r, Finished, noPart})
		}
	}
	for _, p := range slices.AppendSeq(slices.Clone(x.deleted), maps.Values(x.parts)) {
		for _, r := range p.Ranges {
			spans[r.Source] = append(spans[r.Source], span{r.Range, kindOf(p.State), p.ID})
			paths[r.Source] = r.Path
		}
	}
	var rows []Row
	for _, s := range slices.SortedFunc(slices.Values(x.sources), func(a, b Source) int { return cmp.Compare(a.Path, b.Path) }) {
		rows = append(rows, s.explain(spans[s.ID])...)
		delete(spans, s.ID)
	}
	return append(rows, x.lost(paths, spans)...)
}

// lost are the sources whose spool file is gone, with the spans that are left
// of them.
func (x *index) lost(paths map[journal.SourceID]string, spans map[journal.SourceID][]span) []Row {
	var rows []Row
	for _, id := range slices.SortedFunc(maps.Keys(spans), func(a, b journal.SourceID) int {
		return cmp.Or(cmp.Compare(paths[a], paths[b]), cmp.Compare(a.Ino, b.Ino))
	}) {
		s, known := x.streams[id]
		rows = append(rows, lostSource(paths[id], spans[id], known && !s.Leaving)...)
	}
	return rows
}

func kindOf(s journal.PartState) Kind {
	switch s {
	case journal.Finished:
		return Finished
	case journal.Committing:
		return Committing
	case journal.Quarantined:
		return Quarantined
	case journal.Pending:
	}
	return Pending
}

// lostSource is for a spool file that is gone: fine if all of it is finished
// and nobody but us removed it.
func lostSource(path string, spans []span, removed bool) []Row {
	var bytes int64
	for _, s := range spans {
		if s.kind != Finished {
			bytes += s.Len
		}
	}
	if bytes == 0 && removed {
		return []Row{{
			Area: Spool, Kind: Lost, Path: path,
			Explanation: "somebody removed the spool file: what it held is finished as far as it was in parts, the rest is lost",
		}}
	}
	if bytes == 0 {
		return nil
	}
	return []Row{{
		Area: Spool, Kind: Lost, Path: path, Bytes: bytes,
		Explanation: "the spool file is gone, its bytes are in parts that are not published",
	}}
}

// explain accounts for all bytes of one source.
func (s Source) explain(spans []span) []Row {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(cmp.Compare(a.Off, b.Off), cmp.Compare(a.part, b.part)) })
	rows := s.wrong(spans)
	add := func(kind Kind, bytes int64, explanation string) {
		if bytes > 0 {
			rows = append(rows, Row{Area: Spool, Kind: kind, Path: s.Path, Bytes: bytes, Explanation: explanation})
		}
	}
	sums, count := map[Kind]int64{}, map[Kind]int{}
	var at, covered int64
	for _, sp := range spans {
		end := min(sp.end(), s.Size)
		n := max(0, end-max(sp.Off, at))
		sums[sp.kind] += n
		covered += n
		count[sp.kind]++
		at = max(at, end)
	}
	released := min(s.Done, prefix(spans))
	add(Released, released, "finished, given back to the file system")
	add(Finished, sums[Finished]-released, "finished, kept for readers until there is need of the space")
	for _, kind := range []Kind{Committing, Pending, Quarantined} {
		add(kind, sums[kind], fmt.Sprintf("sealed, in %d ranges of parts that are %s", count[kind], kind))
	}
	add(s.unsealed(), s.Size-covered, s.why())
	return rows
}

// wrong finds bytes that are lost, or would be published twice.
func (s Source) wrong(spans []span) []Row {
	var rows []Row
	add := func(kind Kind, bytes int64, format string, args ...any) {
		rows = append(rows, Row{Area: Spool, Kind: kind, Path: s.Path, Bytes: bytes, Explanation: fmt.Sprintf(format, args...)})
	}
	var end int64
	for _, sp := range spans {
		end = max(end, sp.end())
	}
	if end > s.Size {
		add(Lost, end-s.Size, "the journal knows of %d bytes, the spool file has %d", end, s.Size)
	}
	if to := prefix(spans); s.Done > to {
		add(Lost, s.Done-to, "bytes from %d to %d were released and are in no finished part", to, s.Done)
	}
	// What is finished is summed up by the journal's record of the source and
	// is in its parts too, for a while.
	inParts := slices.DeleteFunc(slices.Clone(spans), func(sp span) bool { return sp.part == noPart })
	for _, o := range overlaps(inParts) {
		add(Duplicate, o.Len, "bytes from %d are in part %d, %s, and in part %d, %s", o.Off, o.a.part, o.a.kind, o.b.part, o.b.kind)
	}
	notFinished := slices.DeleteFunc(slices.Clone(spans), func(sp span) bool { return sp.part != noPart && sp.kind == Finished })
	for _, o := range overlaps(notFinished) {
		if o.a.part == noPart {
			add(Duplicate, o.Len, "bytes from %d are finished, and in part %d, which is %s", o.Off, o.b.part, o.b.kind)
		}
	}
	return rows
}

// unsealed is what bytes are that no part has.
func (s Source) unsealed() Kind {
	if s.Kind == spool.Scratch {
		return Scratch
	}
	return Unsealed
}

func (s Source) why() string {
	why := "written, in no part yet"
	switch s.Kind {
	case spool.Scratch:
		why = "the name is temporary or rotated: never published, a rename to another name makes it so"
	case spool.File:
		why = "a file that is not closed, not settled, or waits for a checkpoint"
	case spool.Stream, spool.Dir:
	}
	if s.Unlinked {
		why += "; its name is gone"
	}
	return why
}

// prefix is how far the finished bytes reach from the beginning.
func prefix(spans []span) int64 {
	var to int64
	for _, s := range spans {
		if s.kind == Finished && s.Off <= to {
			to = max(to, s.end())
		}
	}
	return to
}

// overlap is a range that two spans have.
type overlap struct {
	journal.Range
	a, b span
}

// overlaps compares each span, in order of their beginnings, with the one
// before it that reaches furthest.
func overlaps(spans []span) []overlap {
	var found []overlap
	for i, furthest := 1, 0; i < len(spans); i++ {
		a, b := spans[furthest], spans[i]
		if b.Off < a.end() {
			o := overlap{journal.Range{Off: b.Off, Len: min(a.end(), b.end()) - b.Off}, a, b}
			if b.part == noPart {
				o.a, o.b = b, a
			}
			found = append(found, o)
		}
		if b.end() > a.end() {
			furthest = i
		}
	}
	return found
}

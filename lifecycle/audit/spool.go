package audit

import (
	"cmp"
	"context"
	"fmt"
	"maps"
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
	part uint64 // 0 for what the journal keeps of the source itself
}

func (s span) end() int64 { return s.Off + s.Len }

// spool explains all sources by path, then parts whose bytes are gone.
func (x *index) spool() []Row {
	spans := map[journal.SourceID][]span{}
	paths := map[journal.SourceID]string{}
	for id, ranges := range x.finished {
		for _, r := range ranges {
			spans[id] = append(spans[id], span{r, Finished, 0})
		}
	}
	for _, p := range x.parts {
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
	for _, id := range slices.SortedFunc(maps.Keys(spans), func(a, b journal.SourceID) int {
		return cmp.Or(cmp.Compare(paths[a], paths[b]), cmp.Compare(a.Ino, b.Ino))
	}) {
		rows = append(rows, lostSource(paths[id], spans[id])...)
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

// lostSource is for a spool file that is gone: fine if all of it is finished.
func lostSource(path string, spans []span) []Row {
	var bytes int64
	for _, s := range spans {
		if s.kind != Finished {
			bytes += s.Len
		}
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
	row := func(kind Kind, bytes int64, explanation string) Row {
		return Row{Area: Spool, Kind: kind, Path: s.Path, Bytes: bytes, Explanation: explanation}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(cmp.Compare(a.Off, b.Off), cmp.Compare(a.part, b.part)) })
	var rows []Row
	for _, d := range overlaps(spans) {
		rows = append(rows, row(Duplicate, d.Len, fmt.Sprintf("bytes from %d are %s and in part %d too", d.Off, d.kind, d.part)))
	}
	sums, parts := map[Kind]int64{}, map[Kind]int{}
	var at, beyond int64
	for _, sp := range spans {
		from := min(max(sp.Off, at), max(sp.end(), at))
		sums[sp.kind] += max(0, sp.end()-from)
		at = max(at, sp.end())
		beyond = max(beyond, sp.end()-s.Size)
		parts[sp.kind]++
	}
	covered := int64(0)
	for _, n := range sums {
		covered += n
	}
	released := min(s.Done, prefix(spans))
	sums[Finished] -= released
	if beyond > 0 {
		rows = append(rows, row(Lost, beyond, fmt.Sprintf("the journal knows %d bytes more than the spool file has", beyond)))
	}
	if s.Done > released {
		rows = append(rows, row(Lost, s.Done-released, fmt.Sprintf("bytes from %d were released, no finished part has them", released)))
	}
	add := func(kind Kind, bytes int64, explanation string) {
		if bytes > 0 {
			rows = append(rows, row(kind, bytes, explanation))
		}
	}
	add(Released, released, "finished, given back to the file system")
	add(Finished, sums[Finished], "finished, kept for readers until there is need of the space")
	for _, kind := range []Kind{Committing, Pending, Quarantined} {
		add(kind, sums[kind], fmt.Sprintf("sealed, in %d ranges of parts that are %s", parts[kind], kind))
	}
	add(s.unsealed(), s.Size-(covered-max(0, beyond)), s.why())
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

// overlaps finds bytes that would be published twice: in two parts, or
// finished and still in an unfinished part. The finished parts that the
// source's own record sums up are no second time.
func overlaps(spans []span) []span {
	var found []span
	var last span
	for _, s := range spans {
		summed := last.kind == Finished && s.kind == Finished && (last.part == 0 || s.part == 0)
		if s.Off < last.end() && last.Len > 0 && !summed {
			found = append(found, span{journal.Range{Off: s.Off, Len: min(s.end(), last.end()) - s.Off}, last.kind, s.part})
		}
		if s.end() > last.end() || last.Len == 0 {
			last = s
		}
	}
	return found
}

package audit

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"slices"
	"strings"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// target explains every object, then what should be there and is not.
func (a *audit) target(ctx context.Context) error {
	if err := a.know(ctx); err != nil {
		return err
	}
	if err := Walk(ctx, a.in.Store, func(i backend.Info) error { return a.look(ctx, i) }); err != nil {
		return err
	}
	// What was published while the target was walked is known by now.
	if err := a.know(ctx); err != nil {
		return err
	}
	for _, k := range a.doubts {
		if err := a.again(ctx, k); err != nil {
			return err
		}
	}
	return a.missing(ctx)
}

func (a *audit) again(ctx context.Context, k backend.Key) error {
	info, err := a.in.Store.Stat(ctx, k)
	if errors.Is(err, backend.ErrNotExist) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	r, err := a.explain(ctx, info)
	if err != nil {
		return err
	}
	return a.tell(r)
}

// look explains one object; what looks wrong is looked at again.
func (a *audit) look(ctx context.Context, info backend.Info) error {
	r, err := a.explain(ctx, info)
	if err != nil {
		return err
	}
	if r.Kind.problem() {
		a.doubts = append(a.doubts, info.Key)
		return nil
	}
	return a.tell(r)
}

// explain says what one object is, and remembers which part of ours it holds.
func (a *audit) explain(ctx context.Context, i backend.Info) (Row, error) {
	r := Row{Area: Target, Path: string(i.Key), Bytes: i.Size}
	l, ok := readLabel(i.Meta)
	switch {
	case !i.Owned || l.instance == "":
		r.Kind, r.Explanation = Foreign, "it carries no mark of sinkfs"
		return r, nil
	case strings.HasPrefix(r.Path, manifests):
		r.Kind, r.Explanation = Manifest, "what a checkpoint of instance "+l.instance+" published"
		return r, nil
	case !ok:
		r.Kind, r.Explanation = Orphan, "its mark of sinkfs is damaged: "+l.String()
		return r, nil
	case a.known.uid == "":
		r.Kind, r.Explanation = Finished, l.String()+"; no journal at hand to compare it with"
	case !a.known.uids[l.instance]:
		r.Kind, r.Explanation = Other, l.String()
	default:
		r.Kind, r.Explanation = a.ours(i, l)
		if i.Size > a.in.Store.Properties().StageAbove {
			a.staged = append(a.staged, i.Key)
		}
	}
	if !a.in.Bodies || r.Kind.problem() {
		return r, nil
	}
	if i.Checksum == "" && a.known.uids[l.instance] { // the store keeps none, the journal may
		i.Checksum = a.known.parts[l.part].Checksum
	}
	wrong, err := a.verify(ctx, i)
	if wrong != "" {
		r.Kind, r.Explanation = Mismatch, wrong+"; "+r.Explanation
	}
	return r, err
}

// ours compares an object of this instance with what the journal says.
func (a *audit) ours(i backend.Info, l label) (Kind, string) {
	if other, twice := a.seen[l.part]; twice && other != i.Key {
		return Duplicate, fmt.Sprintf("%v is at %q too", l, string(other))
	}
	p, known := a.known.parts[l.part]
	if !known {
		return a.retired(i, l)
	}
	switch {
	case p.Key != string(i.Key):
		return Orphan, fmt.Sprintf("an attempt of %v, which belongs at %q", l, p.Key)
	case l.attempt > uint64(p.Attempt):
		return Orphan, fmt.Sprintf("%v: the journal knows only %d attempts before it", l, p.Attempt)
	}
	a.seen[l.part] = i.Key
	switch {
	case p.Bytes != i.Size:
		return Mismatch, fmt.Sprintf("%v: the journal says %d bytes", l, p.Bytes)
	case backend.ChecksumsDiffer(p.Checksum, i.Checksum):
		return Mismatch, fmt.Sprintf("%v: checksum %s, the journal says %s", l, i.Checksum, p.Checksum)
	}
	switch p.State {
	case journal.Finished:
		return Finished, fmt.Sprintf("%v, published by checkpoint %d", l, p.Checkpoint)
	case journal.Committing:
		return Committing, fmt.Sprintf("%v, published by checkpoint %d, the answer is still to be noted", l, p.Checkpoint)
	case journal.Pending, journal.Quarantined:
	}
	return Orphan, fmt.Sprintf("%v, which no checkpoint has prepared: the journal says %s", l, p.State)
}

// retired is for parts that the journal has forgotten, or never knew.
func (a *audit) retired(i backend.Info, l label) (Kind, string) {
	if next := a.known.counters[partIDs]; l.part >= next {
		return Orphan, fmt.Sprintf("%v: this journal has given out part numbers below %d only, it is older than the object", l, next)
	}
	// A file takes a number only where its name is taken: most have none, and
	// their sink no counter.
	if next := a.known.counters[l.sink]; l.sinkKnown && l.n > 0 && l.n >= next {
		return Orphan, fmt.Sprintf("%v: this journal has named files of the sink below %d only, it is older than the object", l, next)
	}
	a.seen[l.part] = i.Key
	return Finished, fmt.Sprintf("%v, published by a checkpoint that is no longer retained", l)
}

// verify reads an object and returns what is wrong with its bytes.
func (a *audit) verify(ctx context.Context, i backend.Info) (wrong string, err error) {
	var sum hash.Hash
	kind, want, _ := strings.Cut(i.Checksum, ":")
	switch kind {
	case "crc32c":
		sum = crc32.New(crc32.MakeTable(crc32.Castagnoli))
	case "crc64ecma":
		sum = crc64.New(crc64.MakeTable(crc64.ECMA))
	default:
		return "", nil // the store's own, it has checked it
	}
	r, err := a.in.Store.Open(ctx, i.Key, 0, -1)
	if err != nil {
		return "", err
	}
	defer r.Close()
	n, err := io.Copy(sum, r)
	if err != nil {
		return "", fmt.Errorf("read %q: %w", string(i.Key), err)
	}
	if got := fmt.Sprintf("%x", sum.Sum(nil)); n != i.Size || got != want {
		return fmt.Sprintf("its %d bytes have the checksum %s, not %s", n, got, want), nil
	}
	return "", nil
}

// missing tells of parts that were published and are not there.
func (a *audit) missing(ctx context.Context) error {
	var gone []journal.Part
	for id, p := range a.known.parts {
		if _, seen := a.seen[id]; !seen && p.State == journal.Finished && !a.known.forgotten(p) {
			gone = append(gone, p)
		}
	}
	slices.SortFunc(gone, func(x, y journal.Part) int { return strings.Compare(x.Key, y.Key) })
	for _, p := range gone {
		if slices.Contains(a.doubts, backend.Key(p.Key)) {
			continue // told of
		}
		r, err := a.place(ctx, p)
		if err != nil {
			return err
		}
		if err := a.tell(r); err != nil {
			return err
		}
	}
	return nil
}

// place looks where a finished part should be.
func (a *audit) place(ctx context.Context, p journal.Part) (Row, error) {
	info, err := a.in.Store.Stat(ctx, backend.Key(p.Key))
	if errors.Is(err, backend.ErrNotExist) {
		return Row{
			Area: Target, Kind: Missing, Path: p.Key, Bytes: p.Bytes,
			Explanation: fmt.Sprintf("part %d of checkpoint %d was published here: somebody deleted it, or the store lost it", p.ID, p.Checkpoint),
		}, nil
	}
	if err != nil {
		return Row{}, err
	}
	if l, ok := readLabel(info.Meta); ok && a.known.uids[l.instance] && l.part != p.ID {
		return Row{
			Area: Target, Kind: Missing, Path: p.Key, Bytes: p.Bytes,
			Explanation: fmt.Sprintf("part %d of checkpoint %d was published here: somebody deleted it, and %v has the name now", p.ID, p.Checkpoint, l),
		}, nil
	}
	r, err := a.explain(ctx, info) // published behind the walk?
	if r.Kind == Foreign || r.Kind == Other {
		r.Kind = Mismatch
		r.Explanation = fmt.Sprintf("part %d of checkpoint %d was published here, now another object is: %s", p.ID, p.Checkpoint, r.Explanation)
	}
	return r, err
}

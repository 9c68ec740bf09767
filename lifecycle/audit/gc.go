package audit

import (
	"context"
	"errors"
	"fmt"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// Garbage lists the objects of the target that nothing refers to, each with
// the proof: it holds a part of this instance that is finished elsewhere, and
// that other object was just seen. An orphan without such a proof is no
// garbage: it may be all that is left of a part whose journal was lost.
// Uploads that nobody will complete are garbage too.
func Garbage(ctx context.Context, in Input) ([]Row, error) {
	var suspects, garbage []Row
	in.Row = func(r Row) error {
		if r.Area == Uploads && r.Kind == Abandoned {
			garbage = append(garbage, r)
		}
		if r.Area == Target && (r.Kind == Orphan || r.Kind == Duplicate) {
			suspects = append(suspects, r)
		}
		return nil
	}
	if _, err := Fsck(ctx, in); err != nil {
		return nil, err
	}
	for _, r := range suspects {
		why, err := prove(ctx, in, backend.Key(r.Path))
		if err != nil {
			return nil, err
		}
		if why != "" {
			r.Explanation = why
			garbage = append(garbage, r)
		}
	}
	return garbage, nil
}

// ErrReferenced is garbage that is none any more.
var ErrReferenced = errors.New("it is no longer proved that nothing refers to it")

// Remove deletes one object that Garbage listed. It proves everything again
// first.
func Remove(ctx context.Context, in Input, r Row) error {
	if r.Area == Uploads {
		return removeUpload(ctx, in, r)
	}
	why, err := prove(ctx, in, backend.Key(r.Path))
	if err != nil {
		return err
	}
	if why == "" {
		return fmt.Errorf("%q stays: %w", r.Path, ErrReferenced)
	}
	if err := in.Store.Delete(ctx, backend.Key(r.Path)); err != nil && !errors.Is(err, backend.ErrNotExist) {
		return fmt.Errorf("delete %q: %w", r.Path, err)
	}
	return nil
}

// prove returns why the object is unreferenced, "" when that is not proved.
func prove(ctx context.Context, in Input, k backend.Key) (why string, err error) {
	s, err := in.State(ctx)
	if err != nil {
		return "", err
	}
	known := newIndex(s)
	l, _, err := labelOf(ctx, in.Store, k)
	if err != nil || !known.uids[l.instance] {
		return "", err
	}
	p, ok := known.parts[l.part]
	if !ok || p.State != journal.Finished || p.Key == string(k) {
		return "", nil
	}
	there, info, err := labelOf(ctx, in.Store, backend.Key(p.Key))
	if err != nil || there.instance != l.instance || there.part != l.part || info.Size != p.Bytes || backend.ChecksumsDiffer(info.Checksum, p.Checksum) {
		return "", err
	}
	return fmt.Sprintf("%v, which is finished at %q", l, p.Key), nil
}

// labelOf is what an object says of itself, nothing when it is not there or
// says nothing that we wrote.
func labelOf(ctx context.Context, s backend.Store, k backend.Key) (label, backend.Info, error) {
	info, err := s.Stat(ctx, k)
	if errors.Is(err, backend.ErrNotExist) {
		return label{}, info, nil
	}
	if err != nil {
		return label{}, info, err
	}
	l, ok := readLabel(info.Meta)
	if !ok {
		return label{}, info, nil
	}
	return l, info, nil
}

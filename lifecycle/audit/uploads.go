package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// uploads explains what was staged at the store, by whichever process, alive
// or dead.
func (a *audit) uploads(ctx context.Context) error {
	lister, ok := a.in.Store.(backend.UploadLister)
	if !ok {
		return nil
	}
	found, err := listUploads(ctx, a.in.Store, lister, a.known, a.staged)
	if err != nil || len(found) == 0 {
		return err
	}
	// The key of an upload is journaled before it begins: all of those found
	// are known by now.
	if err := a.know(ctx); err != nil {
		return err
	}
	for _, u := range found {
		r, err := explainUpload(ctx, a.in.Store, a.known, u)
		if err != nil {
			return err
		}
		if err := a.tell(r); err != nil {
			return err
		}
	}
	return nil
}

// ExplainUploads explains what is staged at the store; Remove aborts what is
// Abandoned. Some stores tell of an upload only who knows its key: keys are
// those at which there may be some, beside those of parts.
func ExplainUploads(ctx context.Context, in Input, keys []backend.Key) ([]Row, error) {
	lister, ok := in.Store.(backend.UploadLister)
	if !ok {
		return nil, nil
	}
	s, err := in.State(ctx)
	if err != nil {
		return nil, err
	}
	known := newIndex(s)
	found, err := listUploads(ctx, in.Store, lister, known, keys)
	if err != nil {
		return nil, err
	}
	var rows []Row
	for _, u := range found {
		r, err := explainUpload(ctx, in.Store, known, u)
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// listUploads asks for all uploads, and for those of each key that something
// was staged at: some stores tell only what is asked for by its key.
func listUploads(ctx context.Context, s backend.Store, lister backend.UploadLister, known *index, staged []backend.Key) ([]backend.Upload, error) {
	keys := append([]backend.Key{"", backend.Probe}, staged...)
	for _, p := range known.parts {
		if p.Bytes > s.Properties().StageAbove {
			keys = append(keys, backend.Key(p.Key))
		}
	}
	for _, u := range known.uploads {
		keys = append(keys, backend.Key(u.Key))
	}
	slices.Sort(keys)
	var found []backend.Upload
	seen := map[string]bool{}
	for _, k := range slices.Compact(keys) {
		if err := lister.Uploads(ctx, k, func(u backend.Upload) error {
			if id := string(u.Key) + "\x00" + u.ID; !seen[id] {
				seen[id] = true
				found = append(found, u)
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(found, func(x, y backend.Upload) int { return cmp.Or(cmp.Compare(x.Key, y.Key), cmp.Compare(x.ID, y.ID)) })
	return found, nil
}

// explainUpload says what an upload is. One of ours is abandoned when no part
// that is yet to be finished has its key: nobody will ever complete it.
func explainUpload(ctx context.Context, s backend.Store, known *index, u backend.Upload) (Row, error) {
	r := Row{Area: Uploads, Path: string(u.Key), Upload: u.ID, Kind: Foreign}
	if u.Key == backend.Probe {
		r.Kind, r.Explanation = Abandoned, "sinkfs tried here what the store can do, and was killed"
		return r, nil
	}
	if known.uid == "" {
		r.Explanation = "no journal at hand says whose it is"
		return r, nil
	}
	for _, grows := range known.uploads {
		if grows.Key == string(u.Key) {
			r.Kind, r.Explanation = Pending, fmt.Sprintf("the beginning of part %d, which is in progress", grows.ID)
			return r, nil
		}
	}
	var at *journal.Part
	for _, p := range known.parts {
		if p.Key != string(u.Key) {
			continue
		}
		if at = &p; p.State != journal.Finished {
			r.Kind, r.Explanation = Pending, fmt.Sprintf("an attempt of part %d, which is %s", p.ID, p.State)
			return r, nil
		}
	}
	switch {
	case at != nil:
		r.Kind, r.Explanation = Abandoned, fmt.Sprintf("an attempt of part %d, which is finished", at.ID)
	case known.named(r.Path):
		r.Kind, r.Explanation = Abandoned, "an attempt of this instance, no part of which is waiting for this name"
	default:
		info, err := s.Stat(ctx, u.Key)
		if err != nil && !errors.Is(err, backend.ErrNotExist) {
			return r, err
		}
		l, ours := readLabel(info.Meta)
		if err == nil && ours && known.uids[l.instance] {
			r.Kind, r.Explanation = Abandoned, fmt.Sprintf("%v is finished at its key", l)
			return r, nil
		}
		r.Explanation = "begun by another host or program"
	}
	return r, nil
}

// named says whether a key has the name of a part of the instance, and is not
// that of a copy.
func (x *index) named(key string) bool {
	for uid := range x.uids {
		if strings.Contains(key, "-"+uid+"-") {
			return !x.elsewhere(key)
		}
	}
	return false
}

// elsewhere says whether a part that is retained has that name at another key.
// Names are used once: what has it here is a copy, which another host makes.
func (x *index) elsewhere(key string) bool {
	for _, p := range x.parts {
		if p.Key != key && path.Base(p.Key) == path.Base(key) {
			return true
		}
	}
	return false
}

// removeUpload aborts an upload that is still proved to be abandoned.
func removeUpload(ctx context.Context, in Input, r Row) error {
	lister, ok := in.Store.(backend.UploadLister)
	s, err := in.State(ctx)
	if err != nil {
		return err
	}
	u := backend.Upload{Key: backend.Key(r.Path), ID: r.Upload}
	now, err := explainUpload(ctx, in.Store, newIndex(s), u)
	if err != nil {
		return err
	}
	if !ok || now.Kind != Abandoned {
		return fmt.Errorf("the upload of %q stays: %w", r.Path, ErrReferenced)
	}
	return lister.AbortUpload(ctx, u)
}

package audit

import (
	"errors"
	"syscall"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// index is a State, ready to be asked.
type index struct {
	uid      string
	uids     map[string]bool // and those from before the journal was rebuilt
	counters map[string]uint64
	parts    map[uint64]journal.Part
	kept     map[uint64]bool                     // checkpoints that are remembered with their parts
	deleted  []journal.Part                      // published, and deleted since
	uploads  []journal.Upload                    // of parts that grow
	streams  map[journal.SourceID]journal.Source // that the journal knows
	sources  []Source
}

func newIndex(s State) *index {
	x := &index{
		uids: map[string]bool{}, counters: map[string]uint64{}, kept: map[uint64]bool{}, parts: map[uint64]journal.Part{},
		streams: map[journal.SourceID]journal.Source{}, sources: s.Sources,
	}
	for _, p := range s.Retired {
		x.parts[p.ID] = p
	}
	for _, r := range s.Records {
		switch r := r.(type) {
		case journal.Instance:
			x.uid = r.UID
			for _, uid := range append(r.Former, r.UID) {
				x.uids[uid] = true
			}
		case journal.Counter:
			x.counters[r.Sink] = r.Next
		case journal.Checkpoint:
			x.kept[r.ID] = true
		case journal.Part:
			x.parts[r.ID] = r
		case journal.Upload:
			x.uploads = append(x.uploads, r)
		case journal.Source:
			x.streams[r.ID] = r
		}
	}
	for _, id := range s.Deleted { // the journal may remember them for a while
		if p, known := x.parts[id]; known {
			x.deleted = append(x.deleted, p)
			delete(x.parts, id)
		}
	}
	return x
}

// forgotten says that a file's part is journaled only because its spool file is
// not gone yet: what a program deleted since is not known any more.
func (x *index) forgotten(p journal.Part) bool {
	return p.File && p.Checkpoint > 0 && !x.kept[p.Checkpoint]
}

// Sources lists the files of a spool.
func Sources(t *spool.Tree) ([]Source, error) {
	var all []Source
	for _, n := range t.All() {
		if n.Kind() == spool.Dir {
			continue
		}
		size, err := n.Size()
		if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ESTALE) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		id := n.ID()
		all = append(all, Source{
			ID: journal.SourceID{Ino: id.Ino, Gen: id.Gen}, Path: n.Path(), Kind: n.Kind(),
			Size: size, Done: n.Done(), Unlinked: n.Unlinked(),
		})
	}
	return all, nil
}

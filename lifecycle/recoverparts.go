package lifecycle

import (
	"fmt"
	"log/slog"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// recoverParts takes up the parts where the process before left them. It
// returns the finished ones whose manifest may be missing.
func (in *Instance) recoverParts(r recovery, byID map[journal.SourceID]*source) ([]*part, error) {
	var done []*part
	for _, rec := range r.parts {
		p := &part{Part: rec, sink: in.sinkNamed(rec), before: true, noted: true}
		if p.State == journal.Committing {
			if c, prepared := r.checkpoints[p.Checkpoint]; !prepared || c.State == journal.Declined {
				p.State, p.Checkpoint = journal.Pending, 0 // the mark is missing
			}
		}
		if p.File && (p.State == journal.Pending || p.State == journal.Quarantined && in.takenBack(p, byID)) {
			in.garbage = append(in.garbage, journal.DropPart{ID: p.ID}) // as the file is now, it is taken again
			continue
		}
		for _, x := range p.Ranges {
			s := byID[x.Source]
			if s == nil && p.State != journal.Finished {
				return nil, fmt.Errorf("state directory %s: the spool file of %q is missing, part %d cannot be published: put the spool back, or, if what it held is lost, rebuild the journal without it: '%s': %w",
					in.cfg.StateDir, x.Path, p.ID, in.cfg.Remedy, ErrState)
			}
			p.sources = append(p.sources, s)
			if s != nil {
				s.recoverRange(p, x.Range)
			}
		}
		if p.State == journal.Finished {
			done = append(done, p)
			in.recoverFinishedFile(p)
		} else {
			in.parts[p.ID] = p
		}
	}
	return done, nil
}

// takenBack says whether a program renamed, changed or removed the file of a
// quarantined part.
func (in *Instance) takenBack(p *part, byID map[journal.SourceID]*source) bool {
	r := p.Ranges[0]
	s := byID[r.Source]
	if s == nil {
		in.log.Warn("the file of a quarantined part is gone, it was removed", slog.String("path", r.Path))
		return true
	}
	if s.node.Unlinked() || s.node.Path() != r.Path {
		return true
	}
	st, err := s.node.Stat()
	return err == nil && (st.Size != p.Bytes || !st.Mtime.Equal(p.ModTime) || st.Mode&0o7777 != p.Mode || st.UID != p.UID || st.GID != p.GID)
}

// recoverFinishedFile has the part of a file forgotten with its spool file.
func (in *Instance) recoverFinishedFile(p *part) {
	drop := journal.DropPart{ID: p.ID}
	switch {
	case !p.File:
	case p.sources[0] != nil:
		p.sources[0].whenGone = append(p.sources[0].whenGone, drop)
	default:
		in.removals = append(in.removals, removal{records: []journal.Record{drop}})
	}
}

func (s *source) recoverRange(p *part, r journal.Range) {
	if p.State == journal.Finished {
		s.finished = s.finished.with(r)
		s.finishedBy(p.Done)
		s.published(lastPartOf(p.Part))
	} else {
		s.sealed = s.sealed.with(r)
	}
	if p.File {
		s.part, s.ended = p, p.State == journal.Committing
		s.gone = p.State == journal.Finished
	}
}

// sinkNamed is the sink that a part was sealed for, as it is configured now.
func (in *Instance) sinkNamed(p journal.Part) *Sink {
	for _, s := range in.sinks {
		if s.Path == p.Sink {
			return s
		}
	}
	return in.sinkOf(p.Ranges[0].Path)
}

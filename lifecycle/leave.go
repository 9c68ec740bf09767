package lifecycle

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// A spool file that is missing at a start was removed by us, which loses
// nothing, or by somebody else, which loses what was in no part yet. So the
// journal is told before we remove one that it knows.

// unannounced says whether the journal would miss the spool file. s.mu is
// held.
func (s *source) unannounced() bool {
	return s.node.Kind() == spool.Stream && !s.leaving && len(s.finished)+len(s.marks) > 0
}

// leave tells the journal which streams go, all of them at once.
func (in *Instance) leave(sources []*source) {
	var going []*source
	var records []journal.Record
	for _, s := range sources {
		s.mu.Lock()
		if s.unannounced() {
			going = append(going, s)
		}
		s.mu.Unlock()
	}
	if len(going) == 0 {
		return
	}
	in.recording.Lock()
	for _, s := range going {
		r := s.record()
		r.Leaving = true
		records = append(records, r)
	}
	err := in.persist(in.journal.Write, records...)
	in.recording.Unlock()
	if err != nil {
		in.fail(err)
		in.log.Warn("spool files stay, the journal cannot be told that they go", slog.Int("files", len(going)), slog.Any("error", err))
		return
	}
	for _, s := range going {
		s.mu.Lock()
		s.leaving = true
		s.mu.Unlock()
	}
}

// removeAll takes away streams of which everything is finished.
func (in *Instance) removeAll(sources []*source) {
	in.leave(sources)
	for _, s := range sources {
		in.remove(s)
	}
}

// LostSource is a stream whose spool file somebody removed.
type LostSource struct {
	Path      string    `json:"path"`
	Published int64     `json:"published"` // bytes of it that are finished
	Since     time.Time `json:"since"`     // when it was noticed
}

// recoverMissing takes up the sources that the journal knows and the spool
// does not have. What somebody else removed is told for as long as a source
// is remembered that nobody writes.
func (in *Instance) recoverMissing(missing []journal.Source) error {
	var records []journal.Record
	for _, rec := range missing {
		if rec.Leaving || !rec.Missed.IsZero() && in.now().Sub(rec.Missed) >= in.cfg.SourceTTL {
			in.removals = append(in.removals, removal{records: []journal.Record{journal.DropSource{ID: rec.ID}}})
			continue
		}
		if rec.Missed.IsZero() {
			rec.Missed = in.now().UTC()
			records = append(records, rec)
		}
		l := LostSource{Path: rec.Path, Published: rangeSet(rec.Finished).bytes(), Since: rec.Missed}
		in.loses(l)
	}
	if len(records) == 0 {
		return nil
	}
	return in.persist(in.journal.Write, records...)
}

// loses says everywhere that bytes are lost.
func (in *Instance) loses(l LostSource) {
	in.mu.Lock()
	in.lost = append(in.lost, l)
	in.mu.Unlock()
	in.log.Error("a spool file was removed by somebody else, what it held in no part is lost",
		slog.String("path", l.Path), slog.Int64("published", l.Published), slog.Time("since", l.Since))
	in.fail(errors.New(l.text()))
}

func (l LostSource) text() string {
	return fmt.Sprintf("the spool file of %q was removed by somebody else: what it held beyond %d published bytes is lost", l.Path, l.Published)
}

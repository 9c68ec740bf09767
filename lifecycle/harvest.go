package lifecycle

import (
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

const (
	// glimpseSize is the longest read that is worth remembering: of a small
	// source the search for the last record's end has read all there is.
	glimpseSize = 64 << 10
	// glimpseBudget bounds what one checkpoint remembers of such reads.
	glimpseBudget = 16 << 20
	// sourcesEach is from how many sources on another look at a time pays.
	sourcesEach = 64
)

// glimpse is what was read of a source on the way. The bytes of a stream never
// change.
type glimpse struct {
	off  int64
	data []byte
}

// of are the bytes of a range, when all of them were seen.
func (g glimpse) of(r journal.Range) ([]byte, bool) {
	from := r.Off - g.off
	if from < 0 || from+r.Len > int64(len(g.data)) {
		return nil, false
	}
	return g.data[from : from+r.Len], true
}

// piece is a sealed segment and its source.
type piece struct {
	*segment
	src  *source
	seen glimpse
}

// harvest is what a checkpoint found in the sources.
type harvest struct {
	pieces  []piece
	files   []*part
	leftOut []journal.Excuse
	failed  []journal.Failure
	room    int // for glimpses
}

// add takes a sealed segment, and what was seen of it while there is room.
func (h *harvest) add(g *segment, s *source, seen glimpse) {
	if len(seen.data) > h.room {
		seen = glimpse{}
	}
	h.room -= len(seen.data)
	h.pieces = append(h.pieces, piece{g, s, seen})
}

func (h *harvest) leave(s *source, bytes int64, reason string) {
	h.leftOut = append(h.leftOut, journal.Excuse{Path: s.node.Path(), Bytes: bytes, Reason: reason})
}

// collect looks at every source, some at a time, and takes what the trigger
// takes of it.
func (in *Instance) collect(t Trigger) harvest {
	now := in.now()
	all := in.allSources()
	shares := make([]harvest, min(runtime.GOMAXPROCS(0), 1+len(all)/sourcesEach))
	var wg sync.WaitGroup
	for i := range shares {
		shares[i].room = glimpseBudget / len(shares)
		wg.Go(func() {
			for k := i; k < len(all); k += len(shares) {
				in.collectOne(all[k], t, now, &shares[i])
			}
		})
	}
	wg.Wait()
	var h harvest
	for _, s := range shares {
		h.pieces = append(h.pieces, s.pieces...)
		h.files = append(h.files, s.files...)
		h.leftOut = append(h.leftOut, s.leftOut...)
		h.failed = append(h.failed, s.failed...)
	}
	for _, p := range in.selectParts(func(p *part) bool { return !p.File && p.State == journal.Quarantined }) {
		h.leave(p.sources[0], p.Bytes, "quarantined: "+p.Error)
	}
	return h
}

func (in *Instance) collectOne(s *source, t Trigger, now time.Time, h *harvest) {
	err := in.collectSource(s, t, now, h)
	if err == nil {
		return
	}
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ESTALE) {
		in.collectMissing(s, t, h)
		return
	}
	s.mu.Lock()
	unfinished := s.unfinished()
	s.mu.Unlock()
	why := "its spool file cannot be read: " + err.Error()
	if t == Timer || s.node.Kind() == spool.Scratch {
		h.leave(s, unfinished, why)
	} else { // what it holds is neither finished nor excused
		h.failed = append(h.failed, journal.Failure{Path: s.node.Path(), Error: why})
	}
	in.fail(err)
	in.log.Error("source cannot be read", slog.String("path", s.node.Path()), slog.Any("error", err))
}

// collectMissing tells of a source whose spool file somebody else removed: at
// every checkpoint but the timer's, for what it held can never be published.
func (in *Instance) collectMissing(s *source, t Trigger, h *harvest) {
	s.mu.Lock()
	ours := s.gone || s.node.Kind() != spool.Stream && s.node.Unlinked() // removed meanwhile; what an unlinked stream holds is still to be published
	scratch := s.node.Kind() == spool.Scratch
	told := s.missing
	s.missing = !ours
	l := LostSource{Path: s.node.Path(), Published: s.finished.bytes(), Since: in.now().UTC()}
	s.mu.Unlock()
	if ours {
		return
	}
	if !told {
		in.loses(l)
	}
	if t != Timer && !scratch { // which is in no checkpoint
		h.failed = append(h.failed, journal.Failure{Path: l.Path, Error: l.text() + ": to go on without it unmount, and mount again"})
	}
}

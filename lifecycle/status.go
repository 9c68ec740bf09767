package lifecycle

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// State is what the instance is doing.
type State string

// The states.
const (
	Recovering State = "recovering" // finishing what an earlier process prepared, or the target has not answered yet
	Running    State = "running"
	Draining   State = "draining"
)

// Status is a snapshot for people and programs; its JSON keys are a contract
// and are only ever added to. Bytes are integers, times RFC 3339 UTC.
type Status struct {
	Version          string              `json:"version"` // filled by the caller
	Instance         string              `json:"instance"`
	Mode             string              `json:"mode"` // streaming or batch
	State            State               `json:"state"`
	WritePath        string              `json:"write_path"` // filled by the mount: passthrough or daemon
	WritePathReason  string              `json:"write_path_reason"`
	Target           TargetStatus        `json:"target"`
	Spool            SpoolStatus         `json:"spool"`
	Counts           map[string]Count    `json:"counts"` // by part state, in_progress included
	OldestUnfinished float64             `json:"oldest_unfinished_s"`
	Checkpoint       *journal.Checkpoint `json:"checkpoint"` // the last one, null before the first
	Alarm            string              `json:"alarm"`      // "" or what is wrong and since when
	LastError        string              `json:"last_error"`
	Sources          []SourceStatus      `json:"sources"`
	Scratch          []ScratchStatus     `json:"scratch"`
	Lost             []LostSource        `json:"lost"` // streams whose spool file somebody removed
}

// Count is a number of parts and their bytes.
type Count struct {
	Parts int64 `json:"parts"`
	Bytes int64 `json:"bytes"`
}

// TargetStatus is the health of the store.
type TargetStatus struct {
	URL        string    `json:"url"`
	State      string    `json:"state"` // ok, down, refused, unknown
	Since      time.Time `json:"since"`
	Error      string    `json:"error"`
	CreateOnly string    `json:"create_only"` // enforced or emulated
}

// SpoolStatus is the space of the spool's file system.
type SpoolStatus struct {
	Used uint64 `json:"used"` // bytes of unreleased sources
	Free uint64 `json:"free"`
}

// SourceStatus is one source with unfinished bytes or open writers.
type SourceStatus struct {
	Path       string     `json:"path"`
	Unfinished int64      `json:"unfinished"`
	Writers    int        `json:"writers"`
	RollsBy    string     `json:"rolls_by"` // size, rollover, inactivity, checkpoint, close or end
	RollsAt    *time.Time `json:"rolls_at"` // null: no time is set
}

// ScratchStatus is one name that is never published.
type ScratchStatus struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

// PartStatus is one line of the parts file.
type PartStatus struct {
	Part       uint64       `json:"part"`
	Sink       string       `json:"sink"`
	State      string       `json:"state"` // in_progress, pending, committing, finished, quarantined
	URL        string       `json:"url"`
	Key        string       `json:"key"` // below the target
	Bucket     string       `json:"bucket"`
	Bytes      int64        `json:"bytes"`
	Records    int64        `json:"records"`
	Checkpoint uint64       `json:"checkpoint"`
	Checksum   string       `json:"checksum"`
	Sources    []PartSource `json:"sources"`
	Error      string       `json:"error"`
}

// PartSource is a range of a source in a part, in physical offsets. Ino and
// Gen name the spool file, whatever its path; an open part has none.
type PartSource struct {
	Path   string `json:"path"`
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
	Ino    uint64 `json:"ino,omitempty"`
	Gen    uint32 `json:"gen,omitempty"`
}

// FileStatus is what the user.sinkfs.* attributes of an unfinished name say.
type FileStatus struct {
	State      string // in_progress, pending, committing, finished, scratch, quarantined
	Bytes      int64  // written
	Published  int64  // of them finished
	Checkpoint uint64 // that finished the latest of them, 0: none
	URL        string // of the file's part, or of the latest finished part of a stream
	Checksum   string
	Error      string
}

// Status is a snapshot.
func (in *Instance) Status() Status {
	st := Status{
		Instance: in.uid, Mode: "streaming", Target: in.targetStatus(), Counts: map[string]Count{},
		Sources: []SourceStatus{}, Scratch: []ScratchStatus{}, Lost: append([]LostSource{}, in.lost...),
	}
	if in.cfg.Batch {
		st.Mode = "batch"
	}
	in.mu.Lock()
	st.State, st.Checkpoint, st.Alarm, st.LastError = in.state, in.last, in.alarm, in.lastError
	in.mu.Unlock()
	if free, _, err := in.tree.Free(); err == nil {
		st.Spool.Free = free
	}
	now := in.now()
	st.OldestUnfinished = in.oldestUnfinished(now).Seconds()
	for _, p := range in.selectParts(func(*part) bool { return true }) {
		r := in.partStatus(p)
		st.add(r.State, r.Bytes)
	}
	for _, s := range in.allSources() {
		in.addSource(&st, s, now)
	}
	slices.SortFunc(st.Sources, func(a, b SourceStatus) int { return cmp.Compare(a.Path, b.Path) })
	slices.SortFunc(st.Scratch, func(a, b ScratchStatus) int { return cmp.Compare(a.Path, b.Path) })
	return st
}

func (st *Status) add(state string, bytes int64) {
	c := st.Counts[state]
	st.Counts[state] = Count{c.Parts + 1, c.Bytes + bytes}
}

func (in *Instance) targetStatus() TargetStatus {
	props := in.store.Properties()
	t := TargetStatus{URL: props.URL, CreateOnly: "enforced"}
	if !props.CreateOnly {
		t.CreateOnly = "emulated"
	}
	t.State, t.Since, t.Error = in.target.get()
	return t
}

// addSource adds what one source holds.
func (in *Instance) addSource(st *Status, s *source, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size, err := s.node.Size()
	if err != nil || s.gone {
		return
	}
	st.Spool.Used += uint64(max(0, size-s.node.Done()))
	if s.node.Kind() == spool.Scratch {
		st.Scratch = append(st.Scratch, ScratchStatus{Path: s.node.Path(), Bytes: size})
		return
	}
	unfinished := size - s.finished.bytes()
	if s.writers == 0 && unfinished == 0 && s.node.Kind() == spool.Stream {
		return
	}
	row := SourceStatus{Path: s.node.Path(), Unfinished: unfinished, Writers: s.writers}
	if unfinished > 0 || row.Writers > 0 && s.node.Kind() == spool.File {
		by, at := s.rolls(size, now)
		if row.RollsBy = by; !at.IsZero() {
			row.RollsAt = &at
		}
	}
	st.Sources = append(st.Sources, row)
	switch {
	case s.node.Kind() == spool.File && s.part == nil:
		st.add("in_progress", unfinished)
	case s.cut != nil:
		for _, g := range s.cut.segments() {
			st.add("in_progress", g.bytes)
		}
	}
}

// rolls says what will seal the source's oldest open segment, or publish what
// is sealed, and when.
func (s *source) rolls(size int64, now time.Time) (by string, at time.Time) {
	if s.node.Kind() == spool.File {
		if s.writers > 0 {
			return "close", at
		}
		return "checkpoint", at
	}
	if s.sink.Rolling.OnCheckpoint || s.sink.Format.Bulk {
		return "checkpoint", at
	}
	for _, g := range s.segmentsAt(size, now) {
		for rule, due := range map[string]time.Time{
			"rollover": g.born.Add(s.sink.Rolling.RolloverInterval), "inactivity": g.last.Add(s.sink.Rolling.InactivityInterval),
		} {
			if by == "" || due.Before(at) {
				by, at = rule, due
			}
		}
	}
	switch {
	case by == "" && s.cut != nil && s.cut.tail() > 0: // a record without its end
		return "close", time.Time{}
	case by == "":
		return "checkpoint", time.Time{} // all of it is sealed
	case at.Before(now):
		at = now // at the next check
	}
	return by, at.UTC()
}

// segmentsAt are the open segments, and one for what nobody has looked at yet.
func (s *source) segmentsAt(size int64, now time.Time) []segment {
	var open []segment
	if s.cut != nil {
		open = s.cut.segments()
	}
	if size > s.size() && len(open) == 0 {
		open = append(open, segment{born: now, last: now})
	}
	return open
}

// Parts calls fn for every part that is not finished, the open segments
// included, then for the last 1,000 finished, oldest first.
func (in *Instance) Parts(fn func(PartStatus) error) error {
	var rows []PartStatus
	for _, p := range in.selectParts(func(*part) bool { return true }) {
		rows = append(rows, in.partStatus(p))
	}
	for _, s := range in.allSources() {
		rows = append(rows, in.openParts(s)...)
	}
	in.mu.Lock()
	rows = append(rows, in.recent...)
	in.mu.Unlock()
	for _, r := range rows {
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

// openParts are the open segments of a source, or the file that is not sealed.
func (in *Instance) openParts(s *source) []PartStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	row := PartStatus{Sink: "/" + s.sink.Path, State: "in_progress"}
	switch s.node.Kind() {
	case spool.File:
		size, err := s.node.Size()
		if err != nil || s.part != nil || s.gone {
			return nil
		}
		row.Bytes, row.Sources = size, []PartSource{{Path: s.node.Path(), Length: size}}
		return []PartStatus{row}
	case spool.Stream:
		if s.cut == nil {
			return nil
		}
		var rows []PartStatus
		for _, g := range s.cut.segments() {
			row.Bucket, row.Bytes, row.Sources = path.Join(g.dir, bucketDir(g.bucket)), g.bytes, nil
			for _, r := range g.ranges {
				row.Sources = append(row.Sources, PartSource{Path: s.node.Path(), Offset: r.Off, Length: r.Len})
			}
			rows = append(rows, row)
		}
		return rows
	case spool.Dir, spool.Scratch:
	}
	return nil
}

// partStatus is what is told of a part.
func (in *Instance) partStatus(p *part) PartStatus {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.partStatusLocked(p)
}

func (in *Instance) partStatusLocked(p *part) PartStatus {
	r := PartStatus{
		Part: p.ID, Sink: "/" + p.Sink, State: string(p.State), URL: in.URL(p.Key), Key: p.Key, Bucket: p.Bucket, Bytes: p.Bytes,
		Records: p.Records, Checkpoint: p.Checkpoint, Checksum: p.Checksum, Error: p.Error,
		Sources: make([]PartSource, len(p.Ranges)),
	}
	for i, x := range p.Ranges {
		r.Sources[i] = PartSource{Path: x.Path, Offset: x.Off, Length: x.Len, Ino: x.Source.Ino, Gen: x.Source.Gen}
	}
	return r
}

// URL is where readers find a key, without secrets.
func (in *Instance) URL(key string) string {
	target := in.store.Properties().URL
	scheme, _, _ := strings.Cut(target, "://")
	return strings.TrimSuffix(target, "/") + "/" + backend.Escape(scheme, key)
}

// LastCheckpoint is the last one that ended; ok is false before the first.
func (in *Instance) LastCheckpoint() (c journal.Checkpoint, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.last == nil {
		return c, false
	}
	return *in.last, true
}

// File is the status of an unfinished name.
func (in *Instance) File(ino uint64) (FileStatus, error) {
	s, err := in.live(ino)
	if err != nil {
		return FileStatus{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	size, err := s.node.Size()
	if err != nil {
		return FileStatus{}, err
	}
	f := FileStatus{State: "in_progress", Bytes: size, Published: s.finished.bytes()}
	switch {
	case s.node.Kind() == spool.Scratch:
		f.State = "scratch"
	case s.part != nil:
		r := in.partStatus(s.part)
		f.State, f.URL, f.Checksum, f.Error, f.Checkpoint = r.State, r.URL, r.Checksum, r.Error, r.Checkpoint
	case f.Bytes == f.Published && f.Bytes > 0:
		f.State = "finished"
	case f.Bytes == f.Published+s.sealed.bytes() && f.Bytes > 0:
		f.State = "pending"
	}
	if s.part == nil && s.last.key != "" {
		f.URL, f.Checksum, f.Checkpoint = in.URL(s.last.key), s.last.checksum, s.last.checkpoint
	}
	return f, nil
}

// FinishedPart is the part at a key of the target if it is one of the last
// that this instance finished.
func (in *Instance) FinishedPart(key string) (PartStatus, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, p := range slices.Backward(in.recent) {
		if p.Key == key && p.State != deleted {
			return p, true
		}
	}
	return PartStatus{}, false
}

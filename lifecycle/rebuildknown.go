package lifecycle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// known is all that is found of a lost journal. What is finished stays so, so
// each piece of evidence adds to the others, whichever is older.
type known struct {
	instance    *journal.Instance // of the base
	created     time.Time
	stageAbove  int64
	uids        map[string]bool
	counters    map[string]uint64
	sources     map[journal.SourceID]journal.Source // of streams: what is finished, the newest marks
	files       map[journal.SourceID]journal.Part   // of files: the part that finished it
	parts       map[uint64]journal.Part             // whose ranges are known
	finished    map[uint64]string                   // parts that are, and what says so
	open        map[uint64]bool                     // parts that were not when the base was made
	baseParts   uint64                              // parts below are in the base, finished unless open
	baseLast    uint64                              // what checkpoints up to here did is in the base
	checkpoints map[uint64]journal.Checkpoint       // with a manifest in the state directory
	manifests   map[uint64]uint64                   // wherever, and the one before each
	lastID      uint64
	keys        []backend.Key // where something may be staged
	seen        map[backend.Key]bool
	objects     int
	strangers   map[string]int // instances whose objects have our spool files' numbers
	gaps        []string
	warnings    []string
}

func newKnown(stageAbove int64) *known {
	return &known{
		stageAbove: stageAbove, created: time.Now().UTC(), uids: map[string]bool{}, counters: map[string]uint64{},
		sources: map[journal.SourceID]journal.Source{}, files: map[journal.SourceID]journal.Part{},
		parts: map[uint64]journal.Part{}, finished: map[uint64]string{}, open: map[uint64]bool{},
		checkpoints: map[uint64]journal.Checkpoint{}, manifests: map[uint64]uint64{},
		seen: map[backend.Key]bool{}, strangers: map[string]int{}, gaps: []string{}, warnings: []string{},
	}
}

func (k *known) gap(format string, args ...any) {
	k.gaps = append(k.gaps, fmt.Sprintf(format, args...))
}

// instances are the uids up to now, the last one last.
func (k *known) instances() []string {
	var known []string
	if k.instance != nil {
		known = append(slices.Clone(k.instance.Former), k.instance.UID)
	}
	others := slices.DeleteFunc(slices.Sorted(maps.Keys(k.uids)), func(uid string) bool { return slices.Contains(known, uid) })
	return append(others, known...)
}

// gather takes in all evidence, the nearest first.
func (b *rebuild) gather(ctx context.Context) error {
	k := b.known
	for _, uid := range b.o.Instances {
		k.uids[uid] = true
	}
	dir := filepath.Join(b.cfg.StateDir, evidenceDir)
	k.readBase(filepath.Join(dir, baseName))
	if err := b.belongs(); err != nil {
		return err
	}
	if err := k.readNotes(dir); err != nil {
		return fmt.Errorf("state directory %s: %w: %w", b.cfg.StateDir, ErrState, err)
	}
	if err := k.readManifests(filepath.Join(b.cfg.StateDir, "manifests")); err != nil {
		return fmt.Errorf("state directory %s: %w: %w", b.cfg.StateDir, ErrState, err)
	}
	if err := k.readTarget(ctx, b.cfg.Store, b.liveSources()); err != nil {
		return fmt.Errorf("target %s: %w: %w", b.cfg.Target, ErrTarget, err)
	}
	k.checkChain()
	k.checkInstance()
	k.settle(b.liveSources())
	k.checkLost(b.liveSources())
	return nil
}

// belongs refuses a base of another target or spool.
func (b *rebuild) belongs() error {
	i := b.known.instance
	switch {
	case i == nil:
	case i.SpoolIno != b.tree.Ino():
		return fmt.Errorf("spool %s is not the one that the journal was of, but a copy or another (inode %d, expected %d): what is finished of its files cannot be told, bring the original back: %w",
			b.cfg.SpoolDir, b.tree.Ino(), i.SpoolIno, ErrState)
	case i.Identity != b.cfg.Store.Properties().Identity:
		return fmt.Errorf("state directory %s belongs to target %s, not to %s: name that one: %w", b.cfg.StateDir, i.Target, b.cfg.Target, ErrState)
	}
	return nil
}

// liveSources are the spool files that there are, and whether each is a whole
// file.
func (b *rebuild) liveSources() map[journal.SourceID]liveSource {
	live := map[journal.SourceID]liveSource{}
	for _, n := range byBirth(b.tree.All()) {
		live[idOf(n)] = liveSource{n.Path(), n.Kind() == spool.File}
	}
	return live
}

type liveSource struct {
	path string
	file bool
}

// readBase takes the backup that the journal made of itself.
func (k *known) readBase(file string) {
	f, err := os.Open(file)
	if err != nil {
		k.gap("the file %s, which the journal is rebuilt from, is missing or cannot be read", file)
		return
	}
	defer f.Close()
	if err := journal.ReadBackup(f, func(r journal.Record) error {
		k.takeBase(r)
		return nil
	}); err != nil {
		k.gap("the file %s, which the journal is rebuilt from, is damaged: %v", file, err)
		return
	}
	k.baseParts = k.counters[partIDs]
}

// TargetOf is the target of a state directory without its journal, "" when
// nothing says it.
func TargetOf(stateDir string) string {
	k := newKnown(0)
	k.readBase(filepath.Join(stateDir, evidenceDir, baseName))
	if k.instance == nil {
		return ""
	}
	return k.instance.Target
}

func (k *known) takeBase(r journal.Record) {
	switch r := r.(type) {
	case journal.Instance:
		k.instance, k.created = &r, r.Created
		for _, uid := range append(r.Former, r.UID) {
			k.uids[uid] = true
		}
	case journal.Counter:
		k.counters[r.Sink] = max(k.counters[r.Sink], r.Next)
	case journal.Checkpoint:
		k.lastID = max(k.lastID, r.ID)
		if r.State != journal.Prepared {
			k.baseLast = max(k.baseLast, r.ID)
		}
	case journal.Source:
		k.takeSource(r)
	case journal.Part:
		k.takePart(r)
		if r.State == journal.Finished {
			k.finished[r.ID] = "the journal's backup"
		} else {
			k.open[r.ID] = true
			k.keys = append(k.keys, backend.Key(r.Key))
		}
	case journal.Upload:
		k.takeUpload(r)
		k.open[r.ID] = true
	}
}

// takeUpload takes the number and key of a part that grew.
func (k *known) takeUpload(u journal.Upload) {
	k.counters[partIDs] = max(k.counters[partIDs], u.ID+1)
	k.counters[u.Sink] = max(k.counters[u.Sink], u.N+1)
	k.keys = append(k.keys, backend.Key(u.Key))
}

func (k *known) takeSource(r journal.Source) {
	s := k.sources[r.ID]
	set := rangeSet(s.Finished)
	for _, x := range r.Finished {
		set = set.with(x)
	}
	r.Finished = set
	k.sources[r.ID] = r
}

// takePart takes what is in a part, and its number.
func (k *known) takePart(p journal.Part) {
	if len(p.Ranges) > 0 {
		if old, ok := k.parts[p.ID]; ok { // some tell more of it than others
			p.Checkpoint = max(p.Checkpoint, old.Checkpoint)
		}
		k.parts[p.ID] = p
	}
	k.counters[partIDs] = max(k.counters[partIDs], p.ID+1)
	if !p.File {
		k.counters[p.Sink] = max(k.counters[p.Sink], p.N+1)
	}
	k.lastID = max(k.lastID, p.Checkpoint)
}

// readNotes takes what was noted since the base. The last line may be one that
// a power cut ended.
func (k *known) readNotes(dir string) error {
	pages, err := notePages(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, n := range pages {
		text, err := os.ReadFile(notesPath(dir, n))
		if err != nil {
			return err
		}
		for line := range bytes.Lines(text) {
			r, err := journal.ParseLine(line)
			switch r := r.(type) {
			case journal.Source:
				k.takeSource(r)
			case journal.Part:
				k.takePart(r)
				k.keys = append(k.keys, backend.Key(r.Key))
			case journal.Upload:
				k.takeUpload(r)
			default:
				if bytes.HasSuffix(line, []byte("\n")) {
					k.gap("a line of %s is damaged: %v", notesPath(dir, n), err)
				}
			}
		}
	}
	return nil
}

// readManifests takes the manifests of the state directory.
func (k *known) readManifests(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if m, ok := k.takeManifest(file, data); ok {
			k.checkpoints[m.ID] = m.Checkpoint
		}
	}
	return nil
}

func (k *known) takeManifest(name string, data []byte) (m Manifest, ok bool) {
	if err := json.Unmarshal(data, &m); err != nil {
		k.gap("the manifest %s is damaged: %v", name, err)
		return m, false
	}
	k.uids[m.Instance] = true
	k.manifests[m.ID] = m.Previous
	k.lastID = max(k.lastID, m.ID)
	for _, f := range m.Files {
		p := retiredPart(f)
		p.Attempt, p.Checkpoint = 1, m.ID
		for _, s := range f.Sources {
			id := journal.SourceID{Ino: s.Ino, Gen: s.Gen}
			p.Ranges = append(p.Ranges, journal.PartRange{Source: id, Path: s.Path, Range: journal.Range{Off: s.Offset, Len: s.Length}})
			if s.Ino == 0 {
				p.Ranges = nil // of a sinkfs that did not say it
				break
			}
		}
		k.takePart(p)
		k.finished[p.ID] = "manifest " + name
	}
	return m, true
}

// checkChain misses manifests: each names the one before.
func (k *known) checkChain() {
	for id, previous := range k.manifests {
		if _, have := k.manifests[previous]; !have && previous > k.baseLast {
			k.gap("the manifest of checkpoint %d is missing, %d follows it", previous, id)
		}
	}
	slices.Sort(k.gaps)
}

// checkInstance misses the uid.
func (k *known) checkInstance() {
	if len(k.uids) > 0 {
		return
	}
	var text strings.Builder
	text.WriteString("nothing says which instance this state directory was, so that its objects are not known")
	for _, uid := range slices.Sorted(maps.Keys(k.strangers)) {
		fmt.Fprintf(&text, "; '--instance %s' takes it for one of which %d objects may hold bytes of this spool", uid, k.strangers[uid])
	}
	k.gaps = append([]string{text.String()}, k.gaps...)
}

// checkLost says which bytes of parts that were to be published are gone with
// their spool file.
func (k *known) checkLost(live map[journal.SourceID]liveSource) {
	for _, id := range slices.Sorted(maps.Keys(k.parts)) {
		p := k.parts[id]
		if _, finished := k.finished[id]; finished || p.File {
			continue // a file may have been discarded
		}
		for _, r := range p.Ranges {
			if _, ok := live[r.Source]; !ok {
				k.warnings = append(k.warnings, fmt.Sprintf("%d bytes of %q from %d on were to be published, and its spool file is gone: they are lost unless it is put back first",
					r.Len, r.Path, r.Off))
			}
		}
	}
}

// settle sums up by source what is finished.
func (k *known) settle(live map[journal.SourceID]liveSource) {
	inParts := map[journal.SourceID]rangeSet{}
	for _, id := range slices.Sorted(maps.Keys(k.finished)) {
		p, ok := k.parts[id]
		if !ok {
			if id >= k.baseParts || k.open[id] {
				k.gap("%s, part %d, does not say which bytes it holds, and nothing else does", k.finished[id], id)
			}
			continue
		}
		for _, r := range p.Ranges {
			l, ok := live[r.Source]
			if !ok {
				continue // the spool file is gone
			}
			before := inParts[r.Source]
			after := slices.Clone(before).with(r.Range)
			if twice := before.bytes() + r.Len - after.bytes(); twice > 0 {
				k.warnings = append(k.warnings, fmt.Sprintf("%d bytes of %q from %d on are in part %d and in one before it: they were published twice", twice, l.path, r.Off, id))
			}
			inParts[r.Source] = after
			if l.file {
				k.files[r.Source] = p
				continue
			}
			k.takeSource(journal.Source{ID: r.Source, Path: l.path, Finished: []journal.Range{r.Range}, Marks: k.sources[r.Source].Marks})
		}
	}
}

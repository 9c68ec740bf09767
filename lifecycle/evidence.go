package lifecycle

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// The files of evidence, in the state directory.
const (
	evidenceDir = "rebuild"
	baseName    = "base"
	notesPrefix = "notes-"
)

// evidence is what a lost journal is rebuilt from, beside the spool, the
// manifests and the objects of the target. The base is a backup of the journal
// as of one moment; notes are what neither a manifest nor an object tells of
// what came since: marks, and what is in parts that have no room to say it.
// Where something could not be noted the base goes: better no evidence than
// some that is taken for all.
type evidence struct {
	dir string
	log *slog.Logger

	renewing sync.Mutex // one renewal at a time; taken before mu

	mu       sync.Mutex
	number   uint64   // of the notes
	notes    *os.File // nil: there are none yet
	failures int      // what could not be noted
	lost     bool     // the base was given up
}

func newEvidence(stateDir string, log *slog.Logger) *evidence {
	return &evidence{dir: filepath.Join(stateDir, evidenceDir), log: log}
}

// note adds records, durably.
func (e *evidence) note(records ...journal.Record) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.notes == nil || len(records) == 0 {
		return
	}
	var lines []byte
	var err error
	for _, r := range records {
		if lines, err = journal.AppendLine(lines, r); err != nil {
			break
		}
	}
	if err == nil {
		_, err = e.notes.Write(lines)
	}
	if err == nil {
		err = e.notes.Sync()
	}
	if err != nil {
		e.forsake(err)
	}
}

// forsake removes the base, since what came after it is not all there. e.mu is
// held.
func (e *evidence) forsake(why error) {
	e.failures++
	e.lost = true
	err := os.Remove(filepath.Join(e.dir, baseName))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	e.log.Warn("the journal could not be rebuilt until the next checkpoint", slog.Any("error", errors.Join(why, err)))
}

// exists says whether an instance was at work here.
func (e *evidence) exists() bool {
	_, err := os.Lstat(filepath.Join(e.dir, baseName))
	return err == nil
}

// missing says whether the base was given up.
func (e *evidence) missing() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lost
}

// renew makes a new base and forgets the notes before it.
func (e *evidence) renew(backup func(io.Writer) error) error {
	e.renewing.Lock()
	defer e.renewing.Unlock()
	if err := os.MkdirAll(e.dir, 0o700); err != nil {
		return err
	}
	// What is noted while the backup is taken may not be in it.
	failures, err := e.turnPage()
	if err != nil {
		return err
	}
	if err := writeFileWith(filepath.Join(e.dir, baseName), backup, true); err != nil {
		return fmt.Errorf("base of a rebuild: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failures != failures {
		return os.Remove(filepath.Join(e.dir, baseName))
	}
	e.lost = false
	return e.dropNotes()
}

// turnPage begins new notes, after all that there are.
func (e *evidence) turnPage() (failures int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	pages, err := notePages(e.dir)
	if err != nil {
		return 0, err
	}
	next := e.number + 1
	if n := len(pages); n > 0 {
		next = max(next, pages[n-1]+1)
	}
	f, err := os.OpenFile(notesPath(e.dir, next), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	old := e.notes
	e.number, e.notes = next, f
	if old != nil {
		_ = old.Close() // each write was synced
	}
	return e.failures, nil
}

// dropNotes removes the notes before the present ones. e.mu is held.
func (e *evidence) dropNotes() error {
	pages, err := notePages(e.dir)
	if err != nil {
		return err
	}
	for _, n := range pages {
		if n < e.number {
			err = errors.Join(err, os.Remove(notesPath(e.dir, n)))
		}
	}
	return err
}

func (e *evidence) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.notes != nil {
		_ = e.notes.Close() // each write was synced
		e.notes = nil
	}
}

func notesPath(dir string, n uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%s%06d", notesPrefix, n))
}

// notePages are the numbers of the notes that there are, ascending.
func notePages(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir) // in order of name
	if err != nil {
		return nil, err
	}
	var pages []uint64
	for _, e := range entries {
		var n uint64
		if _, err := fmt.Sscanf(e.Name(), notesPrefix+"%d", &n); err == nil {
			pages = append(pages, n)
		}
	}
	return pages, nil
}

// renewEvidence makes a new base. What the manifests past retention tell is in
// it then, so they can go.
func (in *Instance) renewEvidence() error {
	in.mu.Lock()
	expired := in.past
	in.mu.Unlock()
	if err := in.reserve.spend(func() error { return in.evidence.renew(in.journal.Backup) }); err != nil {
		return err
	}
	for _, id := range expired {
		if err := os.Remove(in.manifestPath(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
			in.log.Warn("old manifest stays", slog.Uint64("checkpoint", id), slog.Any("error", err))
		}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.past = in.past[len(expired):]
	return nil
}

// firstEvidence is renewEvidence at a start, which may follow anything.
func (in *Instance) firstEvidence() {
	in.mu.Lock()
	in.expireManifests()
	in.mu.Unlock()
	if err := in.renewEvidence(); err != nil {
		in.evidence.mu.Lock()
		in.evidence.forsake(err)
		in.evidence.mu.Unlock()
	}
}

// noteParts notes those of parts whose objects have no room to say what is in
// them, before anybody can see them.
func (in *Instance) noteParts(parts []*part) {
	var records []journal.Record
	for _, p := range parts {
		if !p.noted && !in.saysRanges(p) {
			records = append(records, p.Part)
			p.noted = true
		}
	}
	in.evidence.note(records...)
}

// noteUpload notes a part before its bytes are staged: some stores tell of an
// upload only who knows its key.
func (in *Instance) noteUpload(p *part) {
	in.evidence.note(p.Part)
	p.noted = true
}

func (in *Instance) saysRanges(p *part) bool {
	_, says := in.meta(p)[MetaRanges]
	return says
}

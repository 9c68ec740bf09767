package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// survey is what the files say before Badger touches them. Badger cuts a
// write-ahead log at the first bad byte, and deletes tables that its MANIFEST
// does not name, both without an error: so the newest head is looked for in
// the raw files first.
type survey struct {
	anchor  *anchor // nil: none
	db      bool    // Badger has been here
	opened  bool    // and has not been closed since
	opening bool    // and was not done with opening
	// The newest heads found in write-ahead logs and in tables. A transaction
	// begins after the one before it is synced, so only the last head in a log
	// may belong to one that never finished.
	wal, table head
}

// brandNew says that nothing was ever written here.
func (s survey) brandNew() bool { return s.anchor == nil && !s.db }

func takeSurvey(dir string) (survey, error) {
	var s survey
	var err error
	if s.anchor, err = readAnchor(dir); err != nil {
		return survey{}, err
	}
	files, err := os.ReadDir(filepath.Join(dir, dbName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return survey{}, fmt.Errorf("journal: %w", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, openedName)); err == nil {
		s.opened = true
	}
	if _, err := os.Lstat(filepath.Join(dir, asideName, openingName)); err == nil {
		s.opening = true
	}
	names := map[string]int{}
	for _, f := range files {
		if fi, err := f.Info(); err != nil || fi.Size() == 0 && f.Name() != manifestName {
			continue // not there, or as good as that
		}
		names[filepath.Ext(f.Name())]++
		if err := s.look(filepath.Join(dir, dbName, f.Name())); err != nil {
			return survey{}, fmt.Errorf("journal: %w", err)
		}
	}
	if err := s.lookAside(dir); err != nil {
		return survey{}, fmt.Errorf("journal: %w", err)
	}
	if err := s.check(dir, names); err != nil || !s.db {
		return s, err
	}
	db := filepath.Join(dir, dbName)
	return s, errors.Join(s.checkLog(db), checkTables(db))
}

// look takes what one file of the database says.
func (s *survey) look(path string) error {
	found := &s.wal
	switch filepath.Ext(path) {
	case walExt:
	case tableExt:
		found = &s.table
	default:
		s.db = s.db || filepath.Base(path) == manifestName
		return nil
	}
	h, err := newestHead(path)
	if h.seq > found.seq {
		*found = h
	}
	return err
}

// lookAside takes what the logs said before an opening that was not done: it
// may have removed them since.
func (s *survey) lookAside(dir string) error {
	if !s.opening {
		return nil
	}
	logs, err := filepath.Glob(filepath.Join(dir, asideName, openingName, "*"+walExt))
	if err != nil {
		return err
	}
	for _, log := range logs {
		if err := s.look(log); err != nil {
			return err
		}
	}
	return nil
}

// check refuses what Badger would open as empty, or partly empty. names
// counts the files by extension.
func (s survey) check(dir string, names map[string]int) error {
	data := names[tableExt] + names[walExt] + names[vlogExt]
	switch {
	case s.db && s.anchor == nil && max(s.wal.seq, s.table.seq) > 0:
		return damaged("the file %s is missing", filepath.Join(dir, anchorName))
	case !s.db && data > 0:
		return damaged("the file %s is missing beside %d others", filepath.Join(dir, dbName, manifestName), data)
	case !s.db && s.anchor != nil:
		return damaged("the database %s is gone", filepath.Join(dir, dbName))
	case !s.db && s.anchor == nil && hasAside(dir):
		return damaged("database and anchor in %s are gone, copies of them are in %s", dir, filepath.Join(dir, asideName))
	}
	return nil
}

// checkLog misses a write-ahead log that must be there.
func (s survey) checkLog(db string) error {
	if s.anchor == nil || !s.opened {
		return nil
	}
	log, err := newestLog(db)
	if err == nil && s.opening && log.Number < s.anchor.Log.Number {
		// An opening that was killed: Badger turns the logs into tables and
		// removes them before it makes the next one. The copy tells that the
		// log was there.
		log, err = newestLog(filepath.Join(filepath.Dir(db), asideName, openingName))
	}
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if log.Number < s.anchor.Log.Number {
		return damaged("the write-ahead log %s is gone, or empty", s.anchor.Log.path(db))
	}
	if log.Size < s.anchor.Log.Size && !s.opening { // opening cuts logs to what is in them
		return damaged("the write-ahead log %s is cut short", log.path(db))
	}
	return nil
}

func (w walID) path(db string) string {
	return filepath.Join(db, fmt.Sprintf("%05d%s", w.Number, walExt))
}

// newestLog is the one with the highest number that is not empty; the zero
// value when there is none.
func newestLog(db string) (newest walID, err error) {
	files, err := os.ReadDir(db)
	if err != nil {
		return walID{}, err
	}
	for _, f := range files {
		number, ok := strings.CutSuffix(f.Name(), walExt)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 64)
		fi, serr := f.Info()
		if err != nil || serr != nil || fi.Size() == 0 {
			continue
		}
		if n > newest.Number {
			newest = walID{Number: n, Size: fi.Size()}
		}
	}
	return newest, nil
}

// newestHead finds the head with the highest sequence number in a raw file.
func newestHead(path string) (newest head, err error) {
	f, err := os.Open(path)
	if err != nil {
		return head{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := make([]byte, 0, 256<<10)
	err = dataRuns(f, func(from, to int64) error {
		buf = buf[:0]
		for from < to {
			n := min(int64(cap(buf)-len(buf)), to-from)
			part := buf[len(buf) : len(buf)+int(n)]
			if _, err := f.ReadAt(part, from); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			from += n
			buf = buf[:len(buf)+int(n)]
			newest = newestIn(buf, newest)
			// a head may lie across the border of two reads
			tail := min(len(buf), headSize-1)
			copy(buf, buf[len(buf)-tail:])
			buf = buf[:tail]
		}
		return nil
	})
	return newest, err
}

func newestIn(b []byte, newest head) head {
	magic := []byte(headMagic)
	for {
		i := bytes.Index(b, magic)
		if i < 0 {
			return newest
		}
		if h, ok := decodeHead(b[i:]); ok && h.seq > newest.seq {
			newest = h
		}
		b = b[i+1:]
	}
}

// dataRuns calls fn with the ranges of f that are not holes: logs are made
// sparse, at twice the size they may fill.
func dataRuns(f *os.File, fn func(from, to int64) error) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	fd, end := int(f.Fd()), fi.Size()
	for at := int64(0); at < end; {
		from, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return fn(at, end) // a file system that knows no holes
		}
		to, err := unix.Seek(fd, from, unix.SEEK_HOLE)
		if err != nil {
			to = end
		}
		if err := fn(from, to); err != nil {
			return err
		}
		at = to
	}
	return nil
}

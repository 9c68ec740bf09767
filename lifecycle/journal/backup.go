package journal

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// A backup is JSON lines: one of type "backup", the records as Dump writes
// them, one of type "end" with the checksum of all before it.
const (
	typeHeader  = "backup"
	typeTrailer = "end"
)

type backupHeader struct {
	Version int       `json:"version"`
	Seq     uint64    `json:"seq"`
	Hash    string    `json:"hash"`
	Created time.Time `json:"created"`
}

type backupTrailer struct {
	Records int    `json:"records"`
	SHA256  string `json:"sha256"`
}

type dumpLine struct {
	Type   string          `json:"type"`
	Record json.RawMessage `json:"record"`
}

// lineWriter writes dump lines and sums them up.
type lineWriter struct {
	w       *bufio.Writer
	sum     hash.Hash
	records int
}

func newLineWriter(w io.Writer) *lineWriter {
	return &lineWriter{w: bufio.NewWriter(w), sum: sha256.New()}
}

func (l *lineWriter) record(k kind, r Record) error {
	l.records++
	return l.line(k.name, r)
}

func (l *lineWriter) line(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if b, err = json.Marshal(dumpLine{Type: name, Record: b}); err != nil {
		return err
	}
	b = append(b, '\n')
	l.sum.Write(b)
	_, err = l.w.Write(b)
	return err
}

func (l *lineWriter) flush() error { return l.w.Flush() }

// Backup writes a portable copy of the journal in dir that Restore reads.
// A damaged journal is not backed up: Dump shows what is left of it.
func Backup(dir string, w io.Writer) error {
	return onCopy(dir, func(db *badger.DB, _ survey, st state, damage error) error {
		if damage != nil {
			return damage
		}
		out := newLineWriter(w)
		h := backupHeader{formatVersion, st.head.seq, st.head.text(), time.Now().UTC()}
		if err := out.line(typeHeader, h); err != nil {
			return err
		}
		if err := load(db, newCodec(), out.record); err != nil {
			return err
		}
		t := backupTrailer{out.records, hex.EncodeToString(out.sum.Sum(nil))}
		return errors.Join(out.line(typeTrailer, t), out.flush())
	})
}

const restoreName = "restore.tmp"

// Restore replaces the journal in dir by a backup, once the whole backup was
// read and its checksum holds. The journal that was there is kept in
// dir/replaced-<time>. Cut short by a crash it leaves the old journal, the new
// one, or one that Open refuses until Restore runs again.
func Restore(dir string, r io.Reader) (err error) {
	if err := makeDir(dir); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	tmp := filepath.Join(dir, restoreName)
	if err := os.RemoveAll(tmp); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if err := build(tmp, r); err != nil {
		return err
	}
	old, err := replacedDir(dir)
	if err != nil {
		return err
	}
	// The anchor goes last: until then database and anchor do not match.
	return inOrder(
		func() error { return copyIfThere(filepath.Join(dir, anchorName), filepath.Join(old, anchorName)) },
		func() error { return moveNames(dir, old, dbName, asideName, openedName) },
		func() error { return moveNames(tmp, dir, dbName) },
		func() error { return moveNames(tmp, dir, anchorName) },
		func() error { return dropEmpty(old) },
	)
}

// dropEmpty removes old when there was nothing to put away.
func dropEmpty(old string) error {
	if err := os.Remove(old); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	return nil
}

// Retire moves the journal in dir away to dir/replaced-<time>, so that the
// next Open starts a brand new one. It is for who can rebuild every record
// from elsewhere, and for nobody else.
func Retire(dir string) (err error) {
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	old, err := replacedDir(dir)
	if err != nil {
		return err
	}
	// The anchor goes last: until then Open refuses.
	return inOrder(
		func() error { return moveNames(dir, old, dbName, asideName, openedName) },
		func() error { return moveNames(dir, old, anchorName) },
	)
}

func inOrder(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("journal: %w", err)
		}
	}
	return nil
}

// replacedDir makes the directory for what is put away.
func replacedDir(dir string) (string, error) {
	old := filepath.Join(dir, "replaced-"+time.Now().UTC().Format("20060102T150405.000000000Z"))
	if err := os.Mkdir(old, 0o700); err != nil {
		return "", fmt.Errorf("journal: %w", err)
	}
	return old, nil
}

// moveNames moves those of names that are there, for good.
func moveNames(from, to string, names ...string) error {
	for _, name := range names {
		err := os.Rename(filepath.Join(from, name), filepath.Join(to, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return errors.Join(syncPath(to), syncPath(from))
}

func copyIfThere(from, to string) error {
	if err := copyFile(from, to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// build makes a journal of the backup r in tmp.
func build(tmp string, r io.Reader) error {
	j, err := Open(Options{Dir: tmp, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	err = readBackup(r, j.Write)
	if err == nil {
		err = j.Mark()
	}
	return errors.Join(err, j.Close())
}

// readBackup hands the records of r to write, some at a time, and fails when
// r is not a whole backup.
func readBackup(r io.Reader, write func(...Record) error) error {
	in := bufio.NewReader(r)
	sum := sha256.New()
	var batch []Record
	for records := 0; ; {
		b, err := in.ReadBytes('\n')
		if err != nil {
			return badBackup("it ends before its checksum: %w", err)
		}
		var l dumpLine
		if err := json.Unmarshal(b, &l); err != nil {
			return badBackup("a line is not JSON: %w", err)
		}
		if l.Type == typeTrailer {
			return errors.Join(checkTrailer(l.Record, records, sum), write(batch...))
		}
		sum.Write(b)
		if l.Type == typeHeader {
			if err := checkHeader(l.Record); err != nil {
				return err
			}
			continue
		}
		k, ok := kinds.byName[l.Type]
		if !ok {
			return badBackup("it holds records of the unknown type %q", l.Type)
		}
		rec, err := k.decode(l.Record)
		if err != nil {
			return badBackup("a record of type %s: %w", l.Type, err)
		}
		records++
		if batch = append(batch, rec); len(batch) == maxGroup {
			if err := write(batch...); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
}

func checkHeader(b []byte) error {
	var h backupHeader
	if err := json.Unmarshal(b, &h); err != nil {
		return badBackup("its header: %w", err)
	}
	if h.Version > formatVersion {
		return newer(h.Version)
	}
	return nil
}

func checkTrailer(b []byte, records int, sum hash.Hash) error {
	var t backupTrailer
	if err := json.Unmarshal(b, &t); err != nil {
		return badBackup("its checksum: %w", err)
	}
	want, err := hex.DecodeString(t.SHA256)
	if err != nil || t.Records != records || !bytes.Equal(want, sum.Sum(nil)) {
		return badBackup("its checksum does not match")
	}
	return nil
}

func badBackup(format string, args ...any) error {
	return fmt.Errorf("journal: this is not a whole backup: %w: take another one", fmt.Errorf(format, args...))
}

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
	"reflect"
	"time"

	"github.com/dgraph-io/badger/v4"
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
	b, err := appendLine(nil, name, v)
	if err != nil {
		return err
	}
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
		return writeBackup(db, newCodec(), backupHeader{Seq: st.head.seq, Hash: st.head.text()}, w)
	})
}

// Backup writes a portable copy of an open journal, as of one moment.
func (j *Journal) Backup(w io.Writer) error {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.closed {
		return ErrClosed
	}
	return writeBackup(j.db, j.codec, backupHeader{}, w)
}

func writeBackup(db *badger.DB, c codec, h backupHeader, w io.Writer) error {
	out := newLineWriter(w)
	h.Version, h.Created = formatVersion, time.Now().UTC()
	if err := out.line(typeHeader, h); err != nil {
		return err
	}
	if err := load(db, c, out.record); err != nil {
		return err
	}
	t := backupTrailer{out.records, hex.EncodeToString(out.sum.Sum(nil))}
	return errors.Join(out.line(typeTrailer, t), out.flush())
}

// ReadBackup calls fn with the records of a backup, in the order of Load, once
// all of it was read and its checksum holds.
func ReadBackup(r io.Reader, fn func(Record) error) error {
	var all []Record
	err := readBackup(r, func(rs ...Record) error {
		all = append(all, rs...)
		return nil
	})
	for i := 0; err == nil && i < len(all); i++ {
		err = fn(all[i])
	}
	return err
}

// AppendLine appends a record as one line of JSON, as a backup holds it.
func AppendLine(to []byte, r Record) ([]byte, error) {
	k, ok := kinds.byType[reflect.TypeOf(r)]
	if !ok || k.decode == nil {
		return to, fmt.Errorf("journal: a record of type %T is no line", r)
	}
	return appendLine(to, k.name, r)
}

// ParseLine is the record of a line that AppendLine made.
func ParseLine(line []byte) (Record, error) {
	var l dumpLine
	if err := json.Unmarshal(line, &l); err != nil {
		return nil, err
	}
	k, ok := kinds.byName[l.Type]
	if !ok {
		return nil, fmt.Errorf("journal: records of type %q are not known", l.Type)
	}
	return k.decode(l.Record)
}

func appendLine(to []byte, name string, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return to, err
	}
	if b, err = json.Marshal(dumpLine{Type: name, Record: b}); err != nil {
		return to, err
	}
	return append(append(to, b...), '\n'), nil
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

package journal

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
)

// Report is what Verify found.
type Report struct {
	Seq       uint64         `json:"seq"`        // newest transaction
	Hash      string         `json:"hash"`       // of the chain up to Seq
	AnchorSeq uint64         `json:"anchor_seq"` // transaction that the anchor names
	Records   map[string]int `json:"records"`    // live records by type
	Bytes     int64          `json:"bytes"`      // on disk, with copies
}

// Verify checks the journal in dir, which no process may have open, and
// changes nothing: it works on a copy, as opening is what would destroy the
// evidence. Its errors are those of Open.
func Verify(dir string) (r Report, err error) {
	err = onCopy(dir, func(db *badger.DB, s survey, st state, damage error) error {
		if damage != nil {
			return damage
		}
		if err := load(db, newCodec(), func(kind, Record) error { return nil }); err != nil {
			return err
		}
		r = Report{Seq: st.head.seq, Hash: st.head.text(), Bytes: diskSize(dir)}
		if s.anchor != nil {
			r.AnchorSeq = s.anchor.Seq
		}
		var err error
		r.Records, err = tallyKinds(db)
		return err
	})
	return r, err
}

// Dump writes every live record of the journal in dir as one JSON line
// {"type":…,"record":…}, in the order of Load. It changes nothing. What can
// be read of a damaged journal is written before the error is returned.
func Dump(dir string, w io.Writer) error {
	return onCopy(dir, func(db *badger.DB, _ survey, _ state, damage error) error {
		out := newLineWriter(w)
		err := load(db, newCodec(), out.record)
		return errors.Join(damage, err, out.flush())
	})
}

// Read calls fn with every live record of the journal in dir, as Load does,
// and changes nothing. Its errors are those of Open, and os.ErrNotExist.
func Read(dir string, fn func(Record) error) error {
	return onCopy(dir, func(db *badger.DB, _ survey, _ state, damage error) error {
		if damage != nil {
			return damage
		}
		return load(db, newCodec(), func(_ kind, r Record) error { return fn(r) })
	})
}

// onCopy opens a copy of the journal in dir for fn. damage is what is wrong
// with it, if it opened nevertheless.
func onCopy(dir string, fn func(db *badger.DB, s survey, st state, damage error) error) (err error) {
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	s, err := takeSurvey(dir)
	if err != nil {
		return err
	}
	if s.brandNew() {
		return fmt.Errorf("journal: %s holds no journal: name the state directory of a mount: %w", dir, os.ErrNotExist)
	}
	tmp, err := os.MkdirTemp("", "sinkfs-journal-")
	if err != nil {
		return fmt.Errorf("journal: make room for a copy: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if err := copyDir(filepath.Join(dir, dbName), tmp); err != nil {
		return fmt.Errorf("journal: copy it to %s: %w", tmp, err)
	}
	db, err := openStore(tmp, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	st, damage := examine(db, s)
	return fn(db, s, st, damage)
}

func copyDir(from, to string) error {
	files, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, f := range files {
		if !f.Type().IsRegular() || f.Name() == "LOCK" {
			continue
		}
		if err := copyFile(filepath.Join(from, f.Name()), filepath.Join(to, f.Name())); err != nil {
			return err
		}
	}
	return nil
}

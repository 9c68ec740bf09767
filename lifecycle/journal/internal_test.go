package journal

import (
	"errors"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

// TestNewerJournalIsRefused: a journal that a later version wrote is left
// alone.
func TestNewerJournalIsRefused(t *testing.T) {
	newer := map[string]func(j *Journal) error{
		"anchor": func(j *Journal) error {
			a := anchorAt(j.writer.head, walID{})
			a.Version++
			return a.write(j.dir)
		},
		"head": func(j *Journal) error {
			h := j.writer.head
			h.version = formatVersion + 1
			return j.db.Update(func(txn *badger.Txn) error { return txn.Set(headKey(), h.encode()) })
		},
		"record": func(j *Journal) error {
			done := make(chan error, 1)
			err := j.submit(&request{ops: []op{{key: recordKey('?', nil), body: []byte("{}")}}, done: done})
			return errors.Join(err, <-done)
		},
	}
	for name, write := range newer {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			j, err := Open(Options{Dir: dir, MinFree: 1})
			if err != nil {
				t.Fatal(err)
			}
			if err := j.Mark(Counter{Sink: "/"}); err != nil {
				t.Fatal(err)
			}
			if name == "anchor" { // Close would write it again
				j.writer.broken = errors.New("test")
			}
			if err := errors.Join(write(j), j.Close()); err != nil {
				t.Fatal(err)
			}
			j, err = Open(Options{Dir: dir, MinFree: 1})
			if err == nil {
				err = j.Load(func(Record) error { return nil })
				if err := j.Close(); err != nil {
					t.Error(err)
				}
			}
			if !errors.Is(err, ErrVersion) {
				t.Errorf("got %v, want %v", err, ErrVersion)
			}
		})
	}
}

// TestPiecesWithoutARecordAreSwept: a crash between the transactions of a
// large record leaves pieces behind.
func TestPiecesWithoutARecordAreSwept(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		j, err := Open(Options{Dir: dir, MinFree: 1})
		if err != nil {
			t.Fatal(err)
		}
		pieces := 0
		err = j.db.View(func(txn *badger.Txn) error {
			return scan(txn, []byte{spacePiece}, func(_, _ []byte) error {
				pieces++
				return nil
			})
		})
		if err != nil || pieces != 0 {
			t.Errorf("round %d: got %d pieces, %v, want none", round, pieces, err)
		}
		done := make(chan error, 1)
		err = j.submit(&request{ops: []op{{key: pieceKey(uint64(round), 0), body: []byte("x")}}, done: done})
		if err := errors.Join(err, <-done, j.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLinksBeforeTheAnchorGo: the chain is kept since the anchor only.
func TestLinksBeforeTheAnchorGo(t *testing.T) {
	j, err := Open(Options{Dir: t.TempDir(), MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range anchorEvery + 2*pruneLinks {
		if err := j.Write(Counter{Sink: "/"}); err != nil {
			t.Fatal(err)
		}
	}
	if got := j.writer.anchored; got < anchorEvery {
		t.Errorf("without a mark the anchor stands at %d", got)
	}
	for range anchorEvery / pruneLinks {
		if err := j.Write(Counter{Sink: "/"}); err != nil {
			t.Fatal(err)
		}
	}
	links := 0
	err = j.db.View(func(txn *badger.Txn) error {
		return scan(txn, []byte{spaceLink}, func(_, _ []byte) error {
			links++
			return nil
		})
	})
	if err != nil || links > anchorEvery/2 {
		t.Errorf("got %d links, %v", links, err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

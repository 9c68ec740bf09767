package journal

import (
	"errors"
	"path/filepath"
	"strings"
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
		if got := count(t, j, spacePiece); got != 0 {
			t.Errorf("round %d: got %d pieces, want none", round, got)
		}
		done := make(chan error, 1)
		err = j.submit(&request{ops: []op{{key: pieceKey(uint64(round), 0), body: []byte("x")}}, done: done})
		if err := errors.Join(err, <-done, j.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOldPiecesGoWithTheirRecord: a large record that is written again, or
// dropped, leaves nothing behind.
func TestOldPiecesGoWithTheirRecord(t *testing.T) {
	j, err := Open(Options{Dir: t.TempDir(), MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{5, 3, 0, 2, 4} {
		o := op{key: recordKey('K', be64(1))}
		if size > 0 {
			o.body = make([]byte, size*pieceSize)
		}
		done := make(chan error, 1)
		if err := errors.Join(j.submit(&request{ops: []op{o}, done: done}), <-done); err != nil {
			t.Fatal(err)
		}
		if got := count(t, j, spacePiece); got != size {
			t.Errorf("got %d pieces, want %d", got, size)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestEntriesThatBadgerChangesAreNoticed: whatever becomes of a single entry,
// Open fails, although head, chain and anchor are as they should be.
func TestEntriesThatBadgerChangesAreNoticed(t *testing.T) {
	key := recordKey('C', []byte("/"))
	changes := map[string]func(txn *badger.Txn, old []byte) error{
		"lost":    func(txn *badger.Txn, _ []byte) error { return txn.Delete(key) },
		"cut":     func(txn *badger.Txn, old []byte) error { return txn.Set(key, old[:len(old)-1]) },
		"emptied": func(txn *badger.Txn, _ []byte) error { return txn.Set(key, nil) },
		"altered": func(txn *badger.Txn, old []byte) error {
			old[overhead/2]++
			return txn.Set(key, old)
		},
		"older": func(txn *badger.Txn, _ []byte) error {
			v, _ := seal(key, 1, 0, []byte(`{"sink":"/","next":1}`))
			return txn.Set(key, v)
		},
		"risen": func(txn *badger.Txn, _ []byte) error {
			gone := recordKey('C', []byte("/gone"))
			v, _ := seal(gone, 1, 0, []byte(`{"sink":"/gone","next":1}`))
			return txn.Set(gone, v)
		},
		"moved": func(txn *badger.Txn, old []byte) error {
			return errors.Join(txn.Set(recordKey('C', []byte("/other")), old), txn.Delete(key))
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			j, err := Open(Options{Dir: dir, MinFree: 1})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(j.Write(Counter{Sink: "/", Next: 1}), j.Mark(Counter{Sink: "/", Next: 2})); err != nil {
				t.Fatal(err)
			}
			err = j.db.Update(func(txn *badger.Txn) error {
				var old []byte
				err := get(txn, key, func(v []byte) error {
					old = append(old, v...)
					return nil
				})
				return errors.Join(err, change(txn, old))
			})
			if err := errors.Join(err, j.Close()); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(Options{Dir: dir, MinFree: 1}); !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v, want %v", err, ErrDamaged)
			}
		})
	}
}

func count(t *testing.T, j *Journal, space byte) int {
	t.Helper()
	n := 0
	err := j.db.View(func(txn *badger.Txn) error {
		return scan(txn, []byte{space}, func(_, _ []byte) error {
			n++
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
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
	if got := count(t, j, spaceLink); got > anchorEvery/2 {
		t.Errorf("got %d links, want at most %d", got, anchorEvery/2)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestAnchorNamesTheNewestLogOfWhatWasAcknowledged: a log that the anchor does
// not name could be deleted unnoticed, with acknowledged records in it.
func TestAnchorNamesTheNewestLogOfWhatWasAcknowledged(t *testing.T) {
	dir := t.TempDir()
	j, err := Open(Options{Dir: dir, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}()
	long := strings.Repeat("x", maxTxnBytes/2)
	first, err := newestLog(filepath.Join(dir, dbName))
	if err != nil {
		t.Fatal(err)
	}
	for newest := first; newest.Number < first.Number+3; {
		if err := j.Write(Checkpoint{ID: 1, Error: long}); err != nil {
			t.Fatal(err)
		}
		if newest, err = newestLog(filepath.Join(dir, dbName)); err != nil {
			t.Fatal(err)
		}
		a, err := readAnchor(dir)
		if err != nil || a == nil || a.Log.Number != newest.Number {
			t.Fatalf("the anchor names log %+v (%v), the newest is %d", a, err, newest.Number)
		}
	}
}

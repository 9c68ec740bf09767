package journal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// state is what examine found in an open database.
type state struct {
	head    head
	pruned  uint64   // first link there is
	orphans [][]byte // keys of pieces that no record names
}

// examine proves that the database is the one the anchor names, or a
// descendant of it, and that each of its entries is there and unaltered.
func examine(db *badger.DB, s survey) (state, error) {
	txn := db.NewTransaction(false)
	defer txn.Discard()
	var st state
	err := get(txn, headKey(), func(v []byte) error {
		var ok bool
		if st.head, ok = decodeHead(v); !ok {
			return errors.New("its head is altered")
		}
		return nil
	})
	if err != nil {
		return st, damaged("%w", err)
	}
	if st.head.version > formatVersion {
		return st, newer(int(st.head.version))
	}
	if err := s.compare(st.head); err != nil {
		return st, err
	}
	if st.pruned, err = checkLinks(txn, st.head, s.anchor); err != nil {
		return st, damaged("%w", err)
	}
	if st.orphans, err = checkEntries(txn, st.head.tally); err != nil {
		return st, damaged("%w", err)
	}
	return st, nil
}

// compare holds the head that Badger shows against what the files promised.
func (s survey) compare(h head) error {
	switch {
	case s.anchor == nil && h.seq > 0:
		return damaged("it holds %d transactions, but has no anchor", h.seq)
	case s.anchor != nil && h.seq < s.anchor.Seq:
		return behind(h.seq, s.anchor.Seq)
	}
	if want := s.newest(); h.seq < want.seq {
		return behind(h.seq, want.seq)
	}
	return nil
}

// newest is the newest head that was surely complete.
func (s survey) newest() head {
	if s.wal.seq > s.table.seq+1 {
		h := s.wal
		h.seq-- // the last one may have been cut short by a crash
		return h
	}
	return s.table
}

// checkLinks follows the chain from the anchor to the head, and returns the
// first link there is.
func checkLinks(txn *badger.Txn, h head, a *anchor) (first uint64, err error) {
	var at uint64 // last link seen
	var hash [32]byte
	met := a == nil || a.Seq == 0
	err = scan(txn, []byte{spaceLink}, func(key, value []byte) error {
		seq := binary.BigEndian.Uint64(key[1:])
		l, err := decodeLink(value)
		if err != nil {
			return err
		}
		switch {
		case at == 0:
			first = seq
		case seq != at+1:
			return fmt.Errorf("transactions %d to %d are missing in its chain", at+1, seq-1)
		case next(hash, seq, l.digest) != l.hash:
			return fmt.Errorf("transaction %d does not follow from the one before", seq)
		}
		at, hash = seq, l.hash
		if a != nil && seq == a.Seq {
			if (head{hash: hash}).text() != a.Hash {
				return fmt.Errorf("transaction %d is not the one that the anchor names", seq)
			}
			met = true
		}
		return nil
	})
	switch {
	case err != nil:
		return 0, err
	case at != h.seq || hash != h.hash:
		return 0, fmt.Errorf("its chain ends at transaction %d, its head says %d", at, h.seq)
	case !met:
		return 0, fmt.Errorf("transaction %d, which the anchor names, is not in its chain", a.Seq)
	}
	return first, nil
}

// checkEntries checks each entry, and that together they are all that was
// ever written and not deleted. It returns the keys of pieces without a
// record.
func checkEntries(txn *badger.Txn, want tally) (orphans [][]byte, err error) {
	var got tally
	lists := map[uint64]pieceList{}
	err = scan(txn, []byte{spaceRecord}, func(key, value []byte) error {
		e, err := unseal(key, value)
		if err != nil {
			return err
		}
		got.add(e.sum)
		if e.flags&flagSplit == 0 {
			return nil
		}
		list, err := decodePieceList(e.body)
		lists[list.set] = list
		return err
	})
	if err != nil {
		return nil, err
	}
	err = scan(txn, []byte{spacePiece}, func(key, value []byte) error {
		e, err := unseal(key, value)
		if err != nil {
			return err
		}
		got.add(e.sum)
		if _, ok := lists[binary.BigEndian.Uint64(key[1:])]; !ok {
			orphans = append(orphans, append([]byte(nil), key...))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if got != want {
		return nil, fmt.Errorf("%d of its entries are there, %d were written, and their checksums differ", got.n, want.n)
	}
	return orphans, nil
}

package journal

import (
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// Load calls fn with every live record: the Instance first, then Counter,
// Source, Checkpoint, Part and Upload records, each in order of identity. It ends at
// the first error of fn and returns it as it is.
func (j *Journal) Load(fn func(Record) error) error {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.closed {
		return ErrClosed
	}
	return load(j.db, j.codec, func(_ kind, r Record) error { return fn(r) })
}

func load(db *badger.DB, c codec, fn func(kind, Record) error) error {
	txn := db.NewTransaction(false)
	defer txn.Discard()
	if err := checkLetters(txn); err != nil {
		return err
	}
	for _, k := range kinds.ordered {
		err := scan(txn, recordKey(k.letter, nil), func(key, value []byte) error {
			r, err := read(txn, c, k, key, value)
			if err != nil {
				return damaged("%w", err)
			}
			return fn(k, r)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkLetters refuses records of types that a newer sinkfs has added.
func checkLetters(txn *badger.Txn) error {
	known := map[byte]bool{}
	for _, k := range kinds.ordered {
		known[k.letter] = true
	}
	return scan(txn, []byte{spaceRecord}, func(key, _ []byte) error {
		if len(key) < 2 || !known[key[1]] {
			return fmt.Errorf("%w: it holds records %q: run the newer sinkfs again", ErrVersion, key[1:min(len(key), 2)])
		}
		return nil
	})
}

func read(txn *badger.Txn, c codec, k kind, key, value []byte) (Record, error) {
	e, err := unseal(key, value)
	if err != nil {
		return nil, err
	}
	if e.flags&flagSplit != 0 {
		if e.body, err = join(txn, e.body); err != nil {
			return nil, fmt.Errorf("%s %x: %w", k.name, key[2:], err)
		}
	}
	r, err := c.decode(k, e.flags, e.body)
	if err != nil {
		return nil, fmt.Errorf("%s %x: %w", k.name, key[2:], err)
	}
	return r, nil
}

// join puts the pieces of a large record together.
func join(txn *badger.Txn, list []byte) ([]byte, error) {
	l, err := decodePieceList(list)
	if err != nil {
		return nil, err
	}
	if l.length > maxBody {
		return nil, fmt.Errorf("its length is said to be %d", l.length)
	}
	body := make([]byte, 0, l.length)
	for i := range l.pieces {
		key := pieceKey(l.set, i)
		err := get(txn, key, func(v []byte) error {
			e, err := unseal(key, v)
			body = append(body, e.body...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if uint64(len(body)) != l.length {
		return nil, fmt.Errorf("%d of its %d bytes are there", len(body), l.length)
	}
	return body, nil
}

// tallyKinds counts live records by name, without decoding them.
func tallyKinds(db *badger.DB) (map[string]int, error) {
	txn := db.NewTransaction(false)
	defer txn.Discard()
	names := map[byte]string{}
	for _, k := range kinds.ordered {
		names[k.letter] = k.name
	}
	counts := map[string]int{}
	err := scan(txn, []byte{spaceRecord}, func(key, _ []byte) error {
		counts[names[key[1]]]++
		return nil
	})
	return counts, err
}

package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"github.com/dgraph-io/badger/v4"
)

// step is one entry to write, or to delete when body is nil.
type step struct {
	key   []byte
	body  []byte
	flags byte
}

func (s step) size() int { return len(s.key) + len(s.body) + overhead + 64 }

// batch is one transaction being built.
type batch struct {
	txn     *badger.Txn
	head    head // as it will be
	digest  hash.Hash
	bytes   int
	entries int
	limit   int // of entries
	pruned  uint64
	waiting []*request // whose last record is in here
}

func (b *batch) fits(steps []step) bool {
	bytes, entries := b.bytes, b.entries
	for _, s := range steps {
		bytes, entries = bytes+s.size(), entries+1
	}
	return bytes <= maxTxnBytes && entries <= b.limit || b.entries == 0 && len(steps) == 1
}

// apply puts s into the transaction, and takes out what it replaces.
func (b *batch) apply(s step) error {
	old, err := b.stored(s.key)
	if err != nil {
		return err
	}
	for i := range old.pieces.pieces {
		if err := b.remove(pieceKey(old.pieces.set, i)); err != nil {
			return err
		}
	}
	if s.body == nil {
		return b.drop(s.key, old)
	}
	if old.found {
		b.head.tally.remove(old.sum)
	}
	value, sum := seal(s.key, b.head.seq, s.flags, s.body)
	b.head.tally.add(sum)
	b.note('+', s.key, sum)
	b.bytes, b.entries = b.bytes+s.size(), b.entries+1
	return b.txn.Set(s.key, value)
}

func (b *batch) remove(key []byte) error {
	old, err := b.stored(key)
	if err != nil {
		return err
	}
	return b.drop(key, old)
}

func (b *batch) drop(key []byte, old stored) error {
	if !old.found {
		return nil
	}
	b.head.tally.remove(old.sum)
	b.note('-', key, old.sum)
	b.bytes, b.entries = b.bytes+step{key: key}.size(), b.entries+1
	return b.txn.Delete(key)
}

// stored is what a key holds before it is written.
type stored struct {
	found  bool
	sum    sum
	pieces pieceList // of a record that is stored in pieces
}

func (b *batch) stored(key []byte) (old stored, err error) {
	err = get(b.txn, key, func(v []byte) error {
		if old.sum, old.found = storedSum(v); !old.found {
			return fmt.Errorf("value of key %q is cut to %d bytes", key, len(v))
		}
		if key[0] != spaceRecord || storedFlags(v)&flagSplit == 0 {
			return nil
		}
		e, err := unseal(key, v)
		if err == nil {
			old.pieces, err = decodePieceList(e.body)
		}
		return err
	})
	return old, err
}

func (b *batch) note(sign byte, key []byte, s sum) {
	b.digest.Write(binary.BigEndian.AppendUint32([]byte{sign}, uint32(len(key))))
	b.digest.Write(key)
	b.digest.Write(s[:])
}

// seal adds the head and its link to the transaction, and drops links from
// before the anchor.
func (b *batch) seal(pruned, anchored uint64) error {
	l := link{digest: [32]byte(b.digest.Sum(nil))}
	b.head.hash = next(b.head.hash, b.head.seq, l.digest)
	l.hash = b.head.hash
	b.pruned = min(anchored, pruned+pruneLinks)
	errs := []error{b.txn.Set(linkKey(b.head.seq), l.encode()), b.txn.Set(headKey(), b.head.encode())}
	for seq := pruned; seq < b.pruned; seq++ {
		errs = append(errs, b.txn.Delete(linkKey(seq)))
	}
	return errors.Join(errs...)
}

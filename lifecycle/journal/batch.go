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
	pruned  uint64
	waiting []*request // whose last record is in here
}

func (b *batch) fits(steps []step) bool {
	bytes, entries := b.bytes, b.entries
	for _, s := range steps {
		bytes, entries = bytes+s.size(), entries+1
	}
	return bytes <= maxTxnBytes && entries <= maxTxnEntries || b.entries == 0 && len(steps) == 1
}

// apply puts s into the transaction, and takes out what it replaces.
func (b *batch) apply(s step) error {
	if s.key[0] == spaceRecord {
		if err := b.removePieces(s.key); err != nil {
			return err
		}
	}
	if s.body == nil {
		return b.remove(s.key)
	}
	old, found, err := b.stored(s.key)
	if err != nil {
		return err
	}
	if found {
		b.head.tally.remove(old)
	}
	value, sum := seal(s.key, b.head.seq, s.flags, s.body)
	b.head.tally.add(sum)
	b.note('+', s.key, sum)
	b.bytes, b.entries = b.bytes+s.size(), b.entries+1
	return b.txn.Set(s.key, value)
}

func (b *batch) remove(key []byte) error {
	old, found, err := b.stored(key)
	if err != nil || !found {
		return err
	}
	b.head.tally.remove(old)
	b.note('-', key, old)
	b.bytes, b.entries = b.bytes+step{key: key}.size(), b.entries+1
	return b.txn.Delete(key)
}

// removePieces deletes the pieces of the record that key holds now.
func (b *batch) removePieces(key []byte) error {
	var list pieceList
	err := get(b.txn, key, func(v []byte) error {
		e, err := unseal(key, v)
		if err != nil || e.flags&flagSplit == 0 {
			return err
		}
		list, err = decodePieceList(e.body)
		return err
	})
	if err != nil {
		return err
	}
	for i := range list.pieces {
		if err := b.remove(pieceKey(list.set, i)); err != nil {
			return err
		}
	}
	return nil
}

// stored is the checksum of what key holds now.
func (b *batch) stored(key []byte) (s sum, found bool, err error) {
	err = get(b.txn, key, func(v []byte) error {
		s, found = storedSum(v)
		if !found {
			return fmt.Errorf("value of key %q is cut to %d bytes", key, len(v))
		}
		return nil
	})
	return s, found, err
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

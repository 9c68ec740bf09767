package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Keys. The first byte is the space: records, pieces of large records, links
// of the hash chain, and the head.
const (
	spaceRecord = 'r' // letter, identity
	spacePiece  = 'p' // set (8 bytes), index (4 bytes)
	spaceLink   = 'h' // sequence number (8 bytes)
	spaceHead   = 'm'

	maxKey    = 16 << 10
	pieceSize = 128 << 10
)

func recordKey(letter byte, id []byte) []byte { return append([]byte{spaceRecord, letter}, id...) }

func pieceKey(set uint64, i uint32) []byte {
	k := binary.BigEndian.AppendUint64([]byte{spacePiece}, set)
	return binary.BigEndian.AppendUint32(k, i)
}

func linkKey(seq uint64) []byte { return binary.BigEndian.AppendUint64([]byte{spaceLink}, seq) }

func headKey() []byte { return []byte{spaceHead} }

// A stored value is: sequence number of its transaction (8), flags (1), body,
// checksum of key and all before (sumSize).
const (
	sumSize  = 16
	overhead = 8 + 1 + sumSize
)

type sum [sumSize]byte

// entry is a stored value, taken apart.
type entry struct {
	seq   uint64
	flags byte
	body  []byte
	sum   sum
}

func checksum(key, value []byte) sum {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(key))))
	h.Write(key)
	h.Write(value)
	var s sum
	copy(s[:], h.Sum(nil))
	return s
}

// seal builds the stored value of body.
func seal(key []byte, seq uint64, flags byte, body []byte) ([]byte, sum) {
	v := make([]byte, 0, overhead+len(body))
	v = binary.BigEndian.AppendUint64(v, seq)
	v = append(v, flags)
	v = append(v, body...)
	s := checksum(key, v)
	return append(v, s[:]...), s
}

// unseal takes a stored value apart; body stays part of v.
func unseal(key, v []byte) (entry, error) {
	if len(v) < overhead {
		return entry{}, fmt.Errorf("value of key %q is cut to %d bytes", key, len(v))
	}
	data := v[:len(v)-sumSize]
	e := entry{seq: binary.BigEndian.Uint64(data), flags: data[8], body: data[9:]}
	copy(e.sum[:], v[len(data):])
	if checksum(key, data) != e.sum {
		return entry{}, fmt.Errorf("value of key %q does not match its checksum", key)
	}
	return e, nil
}

// storedSum is the checksum at the end of a stored value, unverified.
func storedSum(v []byte) (s sum, ok bool) {
	if len(v) < overhead {
		return s, false
	}
	copy(s[:], v[len(v)-sumSize:])
	return s, true
}

// storedFlags are the flags of a stored value that storedSum takes for whole.
func storedFlags(v []byte) byte { return v[8] }

// tally is a checksum of a set of entries that does not depend on their order,
// so that a transaction can take the old value out and put the new one in
// without looking at the rest.
type tally struct{ lo, hi, n uint64 }

func (t *tally) add(s sum) {
	t.lo += binary.BigEndian.Uint64(s[:8])
	t.hi += binary.BigEndian.Uint64(s[8:])
	t.n++
}

func (t *tally) remove(s sum) {
	t.lo -= binary.BigEndian.Uint64(s[:8])
	t.hi -= binary.BigEndian.Uint64(s[8:])
	t.n--
}

// pieceList is the body of a record that is stored in pieces.
type pieceList struct {
	set    uint64
	pieces uint32
	length uint64
}

func (p pieceList) encode() []byte {
	b := be64(p.set)
	b = binary.BigEndian.AppendUint32(b, p.pieces)
	return binary.BigEndian.AppendUint64(b, p.length)
}

func decodePieceList(b []byte) (pieceList, error) {
	if len(b) != 20 {
		return pieceList{}, fmt.Errorf("list of pieces takes %d bytes", len(b))
	}
	return pieceList{
		set:    binary.BigEndian.Uint64(b),
		pieces: binary.BigEndian.Uint32(b[8:]),
		length: binary.BigEndian.Uint64(b[12:]),
	}, nil
}

// head is the state of the chain after a transaction, stored in it.
type head struct {
	version uint16
	seq     uint64
	hash    [32]byte
	tally   tally
	nextSet uint64 // of pieces
}

// headMagic lets a head be found in the raw files, without Badger.
const headMagic = "\x00sinkfs\x93head\xff"

const headSize = len(headMagic) + 2 + 8 + 32 + 24 + 8 + sumSize

func (h head) encode() []byte {
	b := append(make([]byte, 0, headSize), headMagic...)
	b = binary.BigEndian.AppendUint16(b, h.version)
	b = binary.BigEndian.AppendUint64(b, h.seq)
	b = append(b, h.hash[:]...)
	for _, n := range []uint64{h.tally.lo, h.tally.hi, h.tally.n, h.nextSet} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	s := checksum(headKey(), b)
	return append(b, s[:]...)
}

// decodeHead reads a head from the start of b.
func decodeHead(b []byte) (h head, ok bool) {
	if len(b) < headSize || !bytes.HasPrefix(b, []byte(headMagic)) {
		return head{}, false
	}
	data := b[:headSize-sumSize]
	if checksum(headKey(), data) != sum(b[len(data):headSize]) {
		return head{}, false
	}
	data = data[len(headMagic):]
	h.version = binary.BigEndian.Uint16(data)
	h.seq = binary.BigEndian.Uint64(data[2:])
	copy(h.hash[:], data[10:])
	data = data[42:]
	h.tally.lo = binary.BigEndian.Uint64(data)
	h.tally.hi = binary.BigEndian.Uint64(data[8:])
	h.tally.n = binary.BigEndian.Uint64(data[16:])
	h.nextSet = binary.BigEndian.Uint64(data[24:])
	return h, true
}

// link is what the chain keeps of one transaction since the anchor.
type link struct {
	digest [32]byte // of the entries
	hash   [32]byte // of the chain up to here
}

// next is the hash of the chain after a transaction with this digest.
func next(prev [32]byte, seq uint64, digest [32]byte) [32]byte {
	b := append(make([]byte, 0, 72), prev[:]...)
	b = binary.BigEndian.AppendUint64(b, seq)
	return sha256.Sum256(append(b, digest[:]...))
}

func (l link) encode() []byte { return append(l.digest[:], l.hash[:]...) }

func decodeLink(b []byte) (l link, err error) {
	if len(b) != 64 {
		return link{}, fmt.Errorf("link of the chain takes %d bytes", len(b))
	}
	copy(l.digest[:], b)
	copy(l.hash[:], b[32:])
	return l, nil
}

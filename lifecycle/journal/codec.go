package journal

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// kind is one type of record: its name in dumps, its letter in keys, how it
// is identified and how it is read back.
type kind struct {
	name   string
	letter byte
	id     func(Record) []byte
	decode func([]byte) (Record, error) // nil: writing it deletes the identity
}

// kinds is every type of record. Load follows this order. A new type is a new
// line here; letters are never reused, the journal on disk speaks them.
var kinds = table(
	keep("instance", 'I', func(Instance) []byte { return nil }),
	keep("counter", 'C', func(r Counter) []byte { return []byte(r.Sink) }),
	keep("source", 'S', func(r Source) []byte { return r.ID.key() }),
	keep("checkpoint", 'K', func(r Checkpoint) []byte { return be64(r.ID) }),
	keep("part", 'P', func(r Part) []byte { return be64(r.ID) }),
	keep("upload", 'U', func(r Upload) []byte { return be64(r.ID) }),
	drop('P', func(r DropPart) []byte { return be64(r.ID) }),
	drop('U', func(r DropUpload) []byte { return be64(r.ID) }),
	drop('S', func(r DropSource) []byte { return r.ID.key() }),
	drop('K', func(r DropCheckpoint) []byte { return be64(r.ID) }),
)

type kindTable struct {
	ordered []kind // those that are kept
	byType  map[reflect.Type]kind
	byName  map[string]kind
}

type line struct {
	typ reflect.Type
	kind
}

func table(lines ...line) kindTable {
	t := kindTable{byType: map[reflect.Type]kind{}, byName: map[string]kind{}}
	for _, l := range lines {
		t.byType[l.typ] = l.kind
		if l.decode != nil {
			t.ordered = append(t.ordered, l.kind)
			t.byName[l.name] = l.kind
		}
	}
	return t
}

func keep[R Record](name string, letter byte, id func(R) []byte) line {
	return line{reflect.TypeFor[R](), kind{
		name: name, letter: letter, id: identify(id),
		decode: func(b []byte) (Record, error) {
			var r R
			if err := json.Unmarshal(b, &r); err != nil {
				return nil, err
			}
			return r, nil
		},
	}}
}

func drop[R Record](letter byte, id func(R) []byte) line {
	return line{reflect.TypeFor[R](), kind{letter: letter, id: identify(id)}}
}

func identify[R Record](id func(R) []byte) func(Record) []byte {
	return func(r Record) []byte {
		v, _ := r.(R) // the table is asked by the type of r
		return id(v)
	}
}

func be64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func (id SourceID) key() []byte {
	return binary.BigEndian.AppendUint32(be64(id.Ino), id.Gen)
}

// op is one record made ready for the writer.
type op struct {
	key   []byte
	body  []byte // nil: the key is deleted
	flags byte
}

// Flags of a value.
const (
	flagZstd  = 1 << iota // the body is compressed
	flagSplit             // the body is a pieceList, the bytes are elsewhere
)

const (
	compressFrom = 4 << 10  // JSON below this stays readable in the files
	maxBody      = 64 << 20 // of one record, compressed
)

// codec turns records into ops and back. Its compressors are made when the
// first large record comes: most journals never need them.
type codec struct {
	encoder func() (*zstd.Encoder, error)
	decoder func() (*zstd.Decoder, error)
}

func newCodec() codec {
	return codec{
		encoder: sync.OnceValues(func() (*zstd.Encoder, error) {
			return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1),
				zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(256<<10))
		}),
		decoder: sync.OnceValues(func() (*zstd.Decoder, error) {
			return zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		}),
	}
}

// encode makes ops of rs, in order.
func (c codec) encode(rs []Record) ([]op, error) {
	ops := make([]op, 0, len(rs))
	for _, r := range rs {
		o, err := c.encodeOne(r)
		if err != nil {
			return nil, err
		}
		ops = append(ops, o)
	}
	return ops, nil
}

func (c codec) encodeOne(r Record) (op, error) {
	k, ok := kinds.byType[reflect.TypeOf(r)]
	if !ok {
		return op{}, fmt.Errorf("journal: records of type %T have no line in the table of kinds", r)
	}
	o := op{key: recordKey(k.letter, k.id(r))}
	if k.decode == nil {
		return o, nil
	}
	if len(o.key) > maxKey {
		return op{}, fmt.Errorf("journal: identity of a %s takes %d bytes, %d are allowed", k.name, len(o.key), maxKey)
	}
	body, err := json.Marshal(r)
	if err != nil {
		return op{}, fmt.Errorf("journal: encode %s: %w", k.name, err)
	}
	o.body = body
	if len(body) < compressFrom {
		return o, nil
	}
	enc, err := c.encoder()
	if err != nil {
		return op{}, fmt.Errorf("journal: make compressor: %w", err)
	}
	o.body, o.flags = enc.EncodeAll(body, nil), flagZstd
	if len(o.body) > maxBody {
		return op{}, fmt.Errorf("journal: a %s takes %d bytes, %d are allowed: split it", k.name, len(o.body), maxBody)
	}
	return o, nil
}

// decode is the inverse of encodeOne for what is kept.
func (c codec) decode(k kind, flags byte, body []byte) (Record, error) {
	if flags&flagZstd != 0 {
		dec, err := c.decoder()
		if err != nil {
			return nil, fmt.Errorf("make decompressor: %w", err)
		}
		if body, err = dec.DecodeAll(body, nil); err != nil {
			return nil, fmt.Errorf("decompress %s: %w", k.name, err)
		}
	}
	r, err := k.decode(body)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", k.name, err)
	}
	return r, nil
}

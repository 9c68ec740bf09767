package spool

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// attrName is the one attribute that a file of the spool carries.
const attrName = "user.sinkfs.source"

// maxAttr bounds its value: ext4 with 1 KiB blocks has to hold it beside the
// security module's, in one block.
const maxAttr = 400

// desc is what the attribute says. It is replaced as a whole, never changed.
type desc struct {
	kind Kind
	base int64
	done int64
	gen  uint32 // of a file system that numbers no generations; 0: none
	mode uint32 // permissions that programs see, with modeKnown, where the file's own are wider; else 0
	path string // the last one of an unlinked file; meaningless while it has a name
	long bool   // path does not fit: it is in the file beside
}

const (
	descVersion = 1
	descHead    = 3 + 8 + 8 + 4 + 4
	flagPath    = 1 << 0
	flagLong    = 1 << 1
	modeKnown   = 1 << 16 // in desc.mode: tells mode 0000 from none
)

// encode packs d: version, kind, flags, base, done, generation, mode, path.
func (d *desc) encode() []byte {
	var flags byte
	if d.path != "" && !d.long {
		flags |= flagPath
	}
	if d.long {
		flags |= flagLong
	}
	b := make([]byte, 0, descHead+len(d.path))
	b = append(b, descVersion, byte(d.kind), flags)
	b = binary.BigEndian.AppendUint64(b, uint64(d.base))
	b = binary.BigEndian.AppendUint64(b, uint64(d.done))
	b = binary.BigEndian.AppendUint32(b, d.gen)
	b = binary.BigEndian.AppendUint32(b, d.mode)
	if flags&flagPath != 0 {
		b = append(b, d.path...)
	}
	return b
}

// withPath returns d with the last path of an unlinked file.
func (d desc) withPath(path string) *desc {
	d.path, d.long = path, len(path) > maxAttr-descHead
	return &d
}

// decode is the inverse of encode; a long path is left empty.
func decode(b []byte) (*desc, error) {
	if len(b) < descHead || b[0] == 0 {
		return nil, fmt.Errorf("%w: attribute %s has %d bytes", ErrDamaged, attrName, len(b))
	}
	if b[0] != descVersion {
		return nil, fmt.Errorf("%w: attribute %s has version %d, this sinkfs knows %d: use the newer one",
			ErrDamaged, attrName, b[0], descVersion)
	}
	flags := b[2]
	d := &desc{
		kind: Kind(b[1]),
		base: int64(binary.BigEndian.Uint64(b[3:])),
		done: int64(binary.BigEndian.Uint64(b[11:])),
		gen:  binary.BigEndian.Uint32(b[19:]),
		mode: binary.BigEndian.Uint32(b[23:]),
		long: flags&flagLong != 0,
	}
	if flags&flagPath != 0 {
		d.path = string(b[descHead:])
	}
	if d.kind > Scratch || d.base < 0 || d.done < 0 {
		return nil, fmt.Errorf("%w: attribute %s makes no sense", ErrDamaged, attrName)
	}
	return d, nil
}

// readDesc reads the attribute of an open file; nil when it has none.
func readDesc(fd int) (*desc, error) {
	var buf [maxAttr + 1]byte
	n, err := unix.Fgetxattr(fd, attrName, buf[:])
	switch {
	case errors.Is(err, unix.ENODATA):
		return nil, nil
	case errors.Is(err, unix.ERANGE):
		return nil, fmt.Errorf("%w: attribute %s is over %d bytes", ErrDamaged, attrName, maxAttr)
	case err != nil:
		return nil, fmt.Errorf("read attribute %s: %w", attrName, err)
	}
	return decode(buf[:n])
}

// writeDesc sets the attribute of an open file.
func writeDesc(fd int, d *desc) error {
	if err := unix.Fsetxattr(fd, attrName, d.encode(), 0); err != nil {
		return fmt.Errorf("set attribute %s: %w", attrName, err)
	}
	return nil
}

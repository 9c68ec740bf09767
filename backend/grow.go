package backend

import (
	"context"
	"io"
)

// Grower is what a store with Properties.Grows offers besides: it takes the
// bytes of an object while nobody knows yet how many there will be. It is an
// UploadLister too: what a process that died left growing is found by its key.
type Grower interface {
	// Grow begins o, of which Size bounds what it may come to have; Open and
	// Checksum are not asked. Nobody sees anything of it before its commit.
	Grow(ctx context.Context, o Object) (Growing, error)
}

// Growing is an object on its way. One method is called at a time; after an
// error of Append or Seal only Abort is left.
type Growing interface {
	// Unit is what each piece but the last has a whole number of, in bytes.
	Unit() int64
	// Append sends the piece that follows those before. ErrGone when the
	// store has forgotten the object.
	Append(ctx context.Context, p Piece) error
	// Seal ends the object: what was appended, at least one byte, is all of
	// it. What it returns is as if Stage had been given the whole, and is what
	// to abort from here.
	Seal(ctx context.Context) (Staged, error)
	// Abort gives the bytes up. It may be repeated.
	Abort(ctx context.Context) error
}

// Piece is a part of a body; its fields are those of Object.
type Piece struct {
	Size  int64
	Open  func() (io.ReadCloser, error)
	Alive func()
}

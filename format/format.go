// Package format turns records into the bytes of a part. It knows records by
// their delimiter, never by write boundaries, and it never looks at more of a
// source than it must.
package format

import "io"

// Format is how a sink's records are found in a source and written to a part.
type Format struct {
	Name    string
	Records Records
	// Bulk parts are always sealed at a checkpoint: they cannot be cut
	// anywhere between two records.
	Bulk bool
}

// Records finds record ends in the bytes of one source. All offsets are
// physical. from is always the start of a record.
type Records interface {
	// Last returns the end of the last whole record in [from, to), from when
	// there is none.
	Last(r io.ReaderAt, from, to int64) (int64, error)
	// First returns the first record end in (at, to], found when ok. It never
	// splits a record, so the end may be far past at.
	First(r io.ReaderAt, from, at, to int64) (end int64, ok bool, err error)
	// Terminated says whether a record ends exactly at end, looking at no
	// more than the bytes [from, end).
	Terminated(r io.ReaderAt, from, end int64) (bool, error)
	// Counter counts records in a stream of whole ranges.
	Counter() Counter
}

// Counter counts the records of one part while its bytes pass.
type Counter interface {
	io.Writer // never fails
	// Close ends a range: an unterminated rest counts as one record.
	Close()
	Count() int64
}

// Raw is newline-terminated lines, copied byte by byte; a line longer than
// maxRecord counts as several records of that length.
func Raw(maxRecord int64) Format {
	return Format{Name: "raw", Records: Lines{Max: maxRecord}}
}

package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
)

// table prints aligned columns and remembers its first error, so that a
// listing is one run of printf and one check.
type table struct {
	w   *tabwriter.Writer
	err error
}

func newTable(out io.Writer) *table {
	return &table{w: tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)}
}

func (t *table) printf(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format, args...)
	}
}

func (t *table) flush() error { return errors.Join(t.err, t.w.Flush()) }

package format

import (
	"bytes"
	"io"
)

// Lines are records that end with a newline. A record longer than Max bytes
// ends at each multiple of Max from its start, so that a writer that never
// ends a line cannot hold its bytes back for ever.
type Lines struct {
	Max int64 // bytes, > 0
}

// chunk is how much of a source is read at a time: a page or so for the
// common case of short lines.
const chunk = 16 << 10

// Last implements Records.
func (l Lines) Last(r io.ReaderAt, from, to int64) (int64, error) {
	start, err := lineStart(r, from, to)
	if err != nil {
		return from, err
	}
	return start + (to-start)/l.Max*l.Max, nil
}

// First implements Records.
func (l Lines) First(r io.ReaderAt, from, at, to int64) (int64, bool, error) {
	if at < from {
		at = from
	}
	start, err := lineStart(r, from, at)
	if err != nil {
		return 0, false, err
	}
	forced := start + ((at-start)/l.Max+1)*l.Max
	end, err := newlineFrom(r, at, min(to, forced))
	switch {
	case err != nil:
		return 0, false, err
	case end >= 0:
		return end + 1, true, nil
	case forced <= to:
		return forced, true, nil
	}
	return 0, false, nil
}

// Terminated implements Records.
func (l Lines) Terminated(r io.ReaderAt, from, end int64) (bool, error) {
	if end <= from {
		return true, nil
	}
	last, err := l.Last(r, from, end)
	return last == end, err
}

// Counter implements Records.
func (l Lines) Counter() Counter { return &lineCounter{max: l.Max} }

// lineStart returns where the line that holds the byte before to ends or
// else begins: the offset behind the last newline in [from, to), or from.
func lineStart(r io.ReaderAt, from, to int64) (int64, error) {
	buf := make([]byte, min(chunk, max(to-from, 0)))
	for end := to; end > from; {
		n := min(int64(len(buf)), end-from)
		if err := readFull(r, buf[:n], end-n); err != nil {
			return from, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			return end - n + int64(i) + 1, nil
		}
		end -= n
	}
	return from, nil
}

// newlineFrom returns the offset of the first newline in [at, to), or -1.
func newlineFrom(r io.ReaderAt, at, to int64) (int64, error) {
	buf := make([]byte, min(chunk, max(to-at, 0)))
	for at < to {
		n := min(int64(len(buf)), to-at)
		if err := readFull(r, buf[:n], at); err != nil {
			return -1, err
		}
		if i := bytes.IndexByte(buf[:n], '\n'); i >= 0 {
			return at + int64(i), nil
		}
		at += n
	}
	return -1, nil
}

func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

type lineCounter struct {
	max, count, open int64 // open: bytes of the line that has not ended
}

func (c *lineCounter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		n := bytes.IndexByte(p, '\n') + 1
		if n == 0 {
			n = len(p)
		}
		c.piece(p[:n])
		p = p[n:]
		// Short lines are counted together, which is many times faster.
		if last := bytes.LastIndexByte(p, '\n') + 1; int64(last) <= c.max {
			c.count += int64(bytes.Count(p[:last], []byte{'\n'}))
			p = p[last:]
		}
	}
	return total, nil
}

// piece takes bytes of one line.
func (c *lineCounter) piece(p []byte) {
	c.open += int64(len(p))
	// A line of exactly max bytes is one record; what follows starts anew.
	c.count += c.open / c.max
	c.open %= c.max
	if p[len(p)-1] == '\n' && c.open > 0 {
		c.count, c.open = c.count+1, 0
	}
}

func (c *lineCounter) Close() {
	if c.open > 0 {
		c.count, c.open = c.count+1, 0
	}
}

func (c *lineCounter) Count() int64 { return c.count }

package lifecycle

import (
	"cmp"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/sinkfs/sinkfs/format"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// Rolling is Flink's rolling policy: when an open segment is sealed. Ages are
// looked at only at CheckInterval ticks; the size holds at every record.
type Rolling struct {
	MaxPartSize        int64 // bytes; a segment ends with the first record strictly past it
	RolloverInterval   time.Duration
	InactivityInterval time.Duration
	CheckInterval      time.Duration
	OnCheckpoint       bool // every checkpoint seals what is open
}

// overdue says whether a tick at now seals the segment.
func (p Rolling) overdue(s *segment, now time.Time) bool {
	return now.Sub(s.born) >= p.RolloverInterval || now.Sub(s.last) >= p.InactivityInterval
}

// segment is a piece of one source that goes to one bucket.
type segment struct {
	bucket string // the assigner's string
	dir    string // directory of the source below its sink
	ranges []journal.Range
	bytes  int64
	born   time.Time // first record seen
	last   time.Time // last record seen
	torn   bool      // ends inside a record: nothing may follow it in its part
	growth *growth   // sent while it grows; nil: not
}

func (s *segment) add(from, to int64) {
	if to <= from {
		return
	}
	s.bytes += to - from
	if n := len(s.ranges); n > 0 && s.ranges[n-1].Off+s.ranges[n-1].Len == from {
		s.ranges[n-1].Len += to - from
		return
	}
	s.ranges = append(s.ranges, journal.Range{Off: from, Len: to - from})
}

// start is the segment's place in its source. One without a whole record yet
// is the newest.
func (s *segment) start() int64 {
	if len(s.ranges) == 0 {
		return math.MaxInt64
	}
	return s.ranges[0].Off
}

type bucketKey struct{ dir, bucket string }

// cutter cuts the bytes of one source into segments, at record ends only.
// It keeps no bytes and reads as few as it can: an assigner that goes by time
// needs one backward look per change of bucket. Not safe for concurrent use.
type cutter struct {
	records format.Records
	assign  Assigner
	rolling Rolling

	pos   int64 // every byte before is in a segment; a record starts here
	seen  int64 // bytes [pos, seen) belong to current as far as they are whole records
	tried int64 // no record end past the size limit before this offset

	current *segment
	open    map[bucketKey]*segment
	ready   []*segment // sealed by size or age, in order
}

func newCutter(records format.Records, assign Assigner, rolling Rolling, pos int64) *cutter {
	return &cutter{records: records, assign: assign, rolling: rolling, pos: pos, seen: pos, open: map[bucketKey]*segment{}}
}

// observe takes notice that the source, now in dir, has grown to size. The
// records that ended since the last call belong to the time at.
func (c *cutter) observe(r io.ReaderAt, dir string, size int64, at time.Time) error {
	if size <= c.seen {
		return nil
	}
	if c.assign.ByRecord() {
		return c.observeRecords(r, dir, size, at)
	}
	bucket := c.assign.Assign(nil, at)
	if c.current == nil || c.current.bucket != bucket || c.current.dir != dir {
		if err := c.settle(r); err != nil {
			return err
		}
		c.current = c.segment(dir, bucket, at)
	}
	c.seen, c.current.last = size, at
	return c.cutBySize(r, at)
}

func (c *cutter) observeRecords(r io.ReaderAt, dir string, size int64, at time.Time) error {
	c.seen = size
	for {
		end, ok, err := c.records.First(r, c.pos, c.pos, size)
		if err != nil || !ok {
			return err
		}
		record := make([]byte, end-c.pos)
		if _, err := r.ReadAt(record, c.pos); err != nil && err != io.EOF {
			return err
		}
		s := c.segment(dir, c.assign.Assign(record, at), at)
		s.add(c.pos, end)
		s.last, c.pos = at, end
		if s.bytes > c.rolling.MaxPartSize {
			c.seal(s)
		}
	}
}

// segment returns the open segment of a bucket, a new one if there is none.
func (c *cutter) segment(dir, bucket string, at time.Time) *segment {
	k := bucketKey{dir, bucket}
	s := c.open[k]
	if s == nil {
		s = &segment{bucket: bucket, dir: dir, born: at, last: at}
		c.open[k] = s
	}
	return s
}

// cutBySize seals current, as often as it is due, at the first record end
// strictly past the limit: however late the bytes were seen, the same parts
// come out.
func (c *cutter) cutBySize(r io.ReaderAt, at time.Time) error {
	for c.current != nil && c.current.bytes+c.seen-c.pos > c.rolling.MaxPartSize {
		limit := c.pos + max(0, c.rolling.MaxPartSize-c.current.bytes)
		end, ok, err := c.records.First(r, c.pos, max(limit, c.tried), c.seen)
		if err != nil {
			return err
		}
		if !ok {
			c.tried = c.seen
			return nil
		}
		s := c.current
		s.add(c.pos, end)
		c.pos = end
		c.seal(s)
		if c.pos < c.seen {
			c.current = c.segment(s.dir, s.bucket, at)
		}
	}
	return nil
}

// advance gives the whole records seen so far to current, which goes on. They
// stay its own: a later cut by size or bucket is behind them.
func (c *cutter) advance(r io.ReaderAt) error {
	if c.current == nil {
		return nil
	}
	end, err := c.records.Last(r, c.pos, c.seen)
	if err != nil {
		return err
	}
	c.current.add(c.pos, end)
	c.pos = end
	return nil
}

// inLine are the segments that are not taken, the sealed ones first.
func (c *cutter) inLine() []*segment { return append(slices.Clone(c.ready), c.inOrder()...) }

// settle gives the whole records seen so far to current and closes it to
// what comes; it stays open for its bucket.
func (c *cutter) settle(r io.ReaderAt) error {
	s := c.current
	if s == nil {
		return nil
	}
	if err := c.advance(r); err != nil {
		return err
	}
	c.current = nil
	if s.bytes == 0 {
		delete(c.open, bucketKey{s.dir, s.bucket})
	}
	return nil
}

func (c *cutter) seal(s *segment) {
	delete(c.open, bucketKey{s.dir, s.bucket})
	c.ready = append(c.ready, s)
	if c.current == s {
		c.current = nil
	}
}

// tick is the check timer: it seals what is overdue at now.
func (c *cutter) tick(r io.ReaderAt, now time.Time) error {
	if s := c.current; s != nil && c.rolling.overdue(s, now) {
		if err := c.settle(r); err != nil {
			return err
		}
	}
	for _, s := range c.inOrder() {
		if s != c.current && c.rolling.overdue(s, now) {
			c.seal(s)
		}
	}
	return nil
}

// sealAll seals every whole record that was seen.
func (c *cutter) sealAll(r io.ReaderAt) error {
	if err := c.settle(r); err != nil {
		return err
	}
	for _, s := range c.inOrder() {
		c.seal(s)
	}
	return nil
}

// inOrder are the open segments by their place in the source.
func (c *cutter) inOrder() []*segment {
	return slices.SortedFunc(maps.Values(c.open), func(a, b *segment) int { return cmp.Compare(a.start(), b.start()) })
}

// end ends the record at the last byte seen, whole or torn, and seals: what
// the writer writes next never continues it.
func (c *cutter) end(r io.ReaderAt, dir string, at time.Time) error {
	if err := c.sealAll(r); err != nil {
		return err
	}
	if c.pos < c.seen {
		s := c.segment(dir, c.bucketOfTorn(r, at), at)
		s.add(c.pos, c.seen)
		s.torn, c.pos = true, c.seen
		c.seal(s)
	}
	return nil
}

// endTorn is end if the last byte seen is inside a record, else it seals
// nothing.
func (c *cutter) endTorn(r io.ReaderAt, dir string, at time.Time) error {
	if err := c.settle(r); err != nil || c.tail() == 0 {
		return err
	}
	return c.end(r, dir, at)
}

func (c *cutter) bucketOfTorn(r io.ReaderAt, at time.Time) string {
	if !c.assign.ByRecord() {
		return c.assign.Assign(nil, at)
	}
	rest := make([]byte, c.seen-c.pos)
	if _, err := r.ReadAt(rest, c.pos); err != nil && err != io.EOF {
		rest = nil
	}
	return c.assign.Assign(rest, at)
}

// skip moves on to from, the start of a record behind bytes that are in no
// segment of this cutter.
func (c *cutter) skip(r io.ReaderAt, from int64) error {
	if err := c.settle(r); err != nil {
		return err
	}
	c.pos, c.seen, c.tried = from, from, 0
	return nil
}

// giveBack takes sealed segments again whose sealing could not be recorded.
func (c *cutter) giveBack(segments []*segment) {
	c.ready = append(slices.Clone(segments), c.ready...)
}

// take hands over what is sealed.
func (c *cutter) take() []*segment {
	s := c.ready
	c.ready = nil
	return s
}

// tail is how many bytes follow the last whole record that was looked for.
func (c *cutter) tail() int64 { return c.seen - c.pos }

// segments are the open ones, with the bytes of the last as far as they were
// seen: a record may not have ended yet.
func (c *cutter) segments() []segment {
	var out []segment
	for _, s := range c.inOrder() {
		g := *s
		if s == c.current {
			g.bytes += c.tail()
			g.ranges = append(slices.Clone(g.ranges), journal.Range{Off: c.pos, Len: c.tail()})
		}
		out = append(out, g)
	}
	for _, s := range c.ready {
		out = append(out, *s)
	}
	return out
}

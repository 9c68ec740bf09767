package format_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/sinkfs/sinkfs/format"
)

// model lists every record end of data: behind each newline, and at each
// multiple of max from a line's start.
func model(data []byte, limit int64) []int64 {
	var ends []int64
	var start int64
	for i, b := range data {
		end := int64(i) + 1
		if b == '\n' || end-start == limit {
			ends = append(ends, end)
			start = end
		}
	}
	return ends
}

func TestLinesAgreeWithTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.SampledFrom([]byte("ab\n")), 0, 200).Draw(t, "data")
		limit := rapid.Int64Range(1, 50).Draw(t, "max")
		ends := model(data, limit)
		starts := append([]int64{0}, ends...)
		from := rapid.SampledFrom(starts).Draw(t, "from")
		to := rapid.Int64Range(from, int64(len(data))).Draw(t, "to")
		at := rapid.Int64Range(from, to).Draw(t, "at")
		l, r := format.Lines{Max: limit}, bytes.NewReader(data)

		last, first, found := from, int64(0), false
		for _, e := range ends {
			if e > from && e <= to {
				last = e
			}
			if e > at && e <= to && !found {
				first, found = e, true
			}
		}
		if got, err := l.Last(r, from, to); err != nil || got != last {
			t.Fatalf("Last(%d,%d) of %q = %d, %v; want %d", from, to, data, got, err, last)
		}
		got, ok, err := l.First(r, from, at, to)
		if err != nil || ok != found || ok && got != first {
			t.Fatalf("First(%d,%d,%d) of %q max %d = %d, %v, %v; want %d, %v", from, at, to, data, limit, got, ok, err, first, found)
		}
	})
}

func TestLinesCountWhateverTheWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.SampledFrom([]byte("ab\n")), 0, 200).Draw(t, "data")
		limit := rapid.Int64Range(1, 50).Draw(t, "max")
		c := format.Lines{Max: limit}.Counter()
		for rest := data; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			_, _ = c.Write(rest[:n])
			rest = rest[n:]
		}
		c.Close()
		ends := model(data, limit)
		want := int64(len(ends))
		if len(data) > 0 && (len(ends) == 0 || ends[len(ends)-1] != int64(len(data))) {
			want++
		}
		if c.Count() != want {
			t.Fatalf("%d records in %q max %d, want %d", c.Count(), data, limit, want)
		}
	})
}

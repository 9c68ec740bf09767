package lifecycle

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

func TestRangeSetIsASetOfBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s rangeSet
		var model [60]bool
		for range rapid.IntRange(0, 12).Draw(t, "adds") {
			off, n := rapid.Int64Range(0, 40).Draw(t, "off"), rapid.Int64Range(0, 15).Draw(t, "len")
			s = s.with(journal.Range{Off: off, Len: n})
			for i := off; i < off+n; i++ {
				model[i] = true
			}
		}
		held, prefix := int64(0), int64(-1)
		for i, in := range model {
			if in {
				held++
			} else if prefix < 0 {
				prefix = int64(i)
			}
		}
		var missing int64
		for _, g := range s.gaps(0, 60) {
			missing += g.Len
			for i := g.Off; i < g.Off+g.Len; i++ {
				if model[i] {
					t.Fatalf("%v: gap %v holds byte %d", s, g, i)
				}
			}
		}
		if s.bytes() != held || missing != 60-held || s.prefix() != prefix {
			t.Fatalf("%v: %d bytes, %d missing, prefix %d; want %d, %d, %d", s, s.bytes(), missing, s.prefix(), held, 60-held, prefix)
		}
		for i := 1; i < len(s); i++ {
			if s[i-1].Off+s[i-1].Len >= s[i].Off {
				t.Fatalf("%v is not merged", s)
			}
		}
	})
}

package lifecycle

import (
	"slices"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// rangeSet is a sorted set of bytes of one source, adjacent ranges merged.
type rangeSet []journal.Range

// with returns the set grown by r.
func (s rangeSet) with(r journal.Range) rangeSet {
	if r.Len <= 0 {
		return s
	}
	from, to := r.Off, r.Off+r.Len
	i, _ := slices.BinarySearchFunc(s, from, func(x journal.Range, off int64) int {
		if x.Off+x.Len < off {
			return -1
		}
		return 1
	})
	j := i
	for j < len(s) && s[j].Off <= to {
		from, to = min(from, s[j].Off), max(to, s[j].Off+s[j].Len)
		j++
	}
	return slices.Replace(s, i, j, journal.Range{Off: from, Len: to - from})
}

// without returns the set less r.
func (s rangeSet) without(r journal.Range) rangeSet {
	out := make(rangeSet, 0, len(s)+1)
	for _, x := range s {
		if left := min(x.Off+x.Len, r.Off) - x.Off; left > 0 {
			out = append(out, journal.Range{Off: x.Off, Len: left})
		}
		if right := x.Off + x.Len - max(x.Off, r.Off+r.Len); right > 0 {
			out = append(out, journal.Range{Off: x.Off + x.Len - right, Len: right})
		}
	}
	return out
}

// gaps are the ranges of [from, to) that the set lacks.
func (s rangeSet) gaps(from, to int64) []journal.Range {
	var out []journal.Range
	for _, r := range s {
		if r.Off >= to {
			break
		}
		if r.Off > from {
			out = append(out, journal.Range{Off: from, Len: r.Off - from})
		}
		from = max(from, r.Off+r.Len)
	}
	if from < to {
		out = append(out, journal.Range{Off: from, Len: to - from})
	}
	return out
}

// prefix is the end of the bytes that the set holds from 0 on.
func (s rangeSet) prefix() int64 {
	if len(s) == 0 || s[0].Off > 0 {
		return 0
	}
	return s[0].Len
}

// end is the end of the last byte that the set holds.
func (s rangeSet) end() int64 {
	if len(s) == 0 {
		return 0
	}
	last := s[len(s)-1]
	return last.Off + last.Len
}

// bytes is how many bytes the set holds.
func (s rangeSet) bytes() int64 {
	var n int64
	for _, r := range s {
		n += r.Len
	}
	return n
}

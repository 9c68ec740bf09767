package harness

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Claim is what one writer was told, to be compared with what was published.
type Claim struct {
	Writer
	*Notes
	// Cut: the power went while it wrote, after the notes were read. Records
	// behind those that were noted may be there, the last one torn.
	Cut bool
	// Late: a journal was lost meanwhile. What no object had then comes in
	// parts behind those that were there.
	Late bool
}

// Verify compares a target with the claims and returns all that is wrong:
// every acknowledged record is there once, one that failed at most once, in
// the order of its writer, whole, and nothing is there that nobody wrote.
// sinks are the paths of the sinks below the root.
func Verify(ctx context.Context, target Shelf, sinks []string, claims []Claim) ([]string, error) {
	s, err := takeStock(ctx, target, sinks)
	if err != nil {
		return nil, err
	}
	v := &verdict{stock: s, claims: map[string]*Claim{}}
	for _, c := range claims {
		v.claims[c.ID] = &c
	}
	for _, id := range slices.Sorted(maps.Keys(v.claims)) {
		switch c := v.claims[id]; c.Kind {
		case Same, SameKept:
			v.identical(c)
		case Files:
			v.wholeFiles(c)
		case Append, ReadWrite, Plain, Reopen, Truncate, Unlink, Shell, ShellOver, Python:
			v.numbered(c)
		}
	}
	v.nothingElse()
	return v.wrong, nil
}

// verdict collects what is wrong.
type verdict struct {
	*stock
	claims map[string]*Claim
	wrong  []string
}

func (v *verdict) say(format string, args ...any) {
	v.wrong = append(v.wrong, fmt.Sprintf(format, args...))
}

// last is the newest record that was acknowledged.
func (c *Claim) last() int {
	if n := len(c.Acked); n > 0 {
		return c.Acked[n-1]
	}
	return -1
}

// mayBe says whether a record that was not acknowledged may be there.
func (c *Claim) mayBe(number int) bool {
	_, failed := c.Failed[number]
	return failed || c.Cut && number > c.last()
}

func (v *verdict) numbered(c *Claim) {
	seen := map[int]int{}
	last := line{number: -1}
	for _, l := range v.lines[c.ID] {
		if seen[l.number]++; l.number <= last.number && (l.part == last.part || !c.Late) {
			v.say("%s: record %d (%s) after %d (%s)", c.ID, l.number, l.part, last.number, last.part)
		}
		last = l
	}
	v.compare(c, seen)
}

// compare compares how often records are there with what they should be.
func (v *verdict) compare(c *Claim, seen map[int]int) {
	acked := map[int]bool{}
	var lost []int
	for _, number := range c.Acked {
		if acked[number] = true; seen[number] == 0 {
			lost = append(lost, number)
		}
	}
	if len(lost) > 0 {
		v.say("%s (%s): %d of %d acknowledged records are lost: %v", c.ID, c.Kind, len(lost), len(acked), first(lost))
	}
	for _, number := range slices.Sorted(maps.Keys(seen)) {
		switch {
		case seen[number] > 1:
			v.say("%s (%s): record %d is there %d times", c.ID, c.Kind, number, seen[number])
		case !acked[number] && !c.mayBe(number):
			v.say("%s (%s): record %d is there, nobody wrote it", c.ID, c.Kind, number)
		}
	}
}

func (v *verdict) identical(c *Claim) {
	got, least, most := v.same[c.ID], len(c.Acked), len(c.Acked)+len(c.Failed)
	if c.Cut {
		most = got
	}
	if got < least || got > most {
		v.say("%s (%s): %d identical records are there, want %d to %d", c.ID, c.Kind, got, least, most)
	}
}

// wholeFiles compares files: each holds the one record of its number.
func (v *verdict) wholeFiles(c *Claim) {
	seen := map[int]int{}
	for key, data := range v.files {
		if !c.names(key) {
			continue
		}
		name := path.Base(key)
		text, whole := strings.CutSuffix(string(data), "\n")
		writer, number, _, ok := parse(text)
		if !ok || !whole || writer != c.ID || name != FileName(c.ID, number) {
			v.say("%s: %d bytes that are not what was written", key, len(data))
			continue
		}
		seen[number]++
	}
	v.compare(c, seen)
}

// names says whether a key is what the writer calls its files.
func (c *Claim) names(key string) bool {
	return c.Kind == Files && strings.HasPrefix(path.Base(key), c.ID+"-")
}

func (v *verdict) owned(key string) bool {
	for _, c := range v.claims {
		if c.names(key) {
			return true
		}
	}
	return false
}

// nothingElse finds what no writer claims. A line that is no record is the
// beginning of one whose write failed, or the empty line behind it.
func (v *verdict) nothingElse() {
	for _, id := range slices.Sorted(maps.Keys(v.lines)) {
		if v.claims[id] == nil {
			v.say("%d records of %q, whom nobody knows", len(v.lines[id]), id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(v.same)) {
		if v.claims[id] == nil {
			v.say("%d identical records of %q, whom nobody knows", v.same[id], id)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(v.files)) {
		if !v.owned(key) {
			v.say("%s: a file that no writer names", key)
		}
	}
	allowance := 0 // empty lines
	for _, c := range v.claims {
		allowance += len(c.Failed)
	}
	for _, l := range v.strange {
		switch {
		case l.text == "" && allowance > 0:
			allowance--
		case v.begins(l.text):
		default:
			v.say("%s: a line that is no record: %.100q (%d bytes)", l.key, l.text, len(l.text))
		}
	}
}

// begins says whether a line is the beginning of a record that was not
// acknowledged.
func (v *verdict) begins(line string) bool {
	if line == "" {
		return false
	}
	for _, c := range v.claims {
		for number := range c.Failed {
			if c.beginsWith(number, line) {
				return true
			}
		}
		if c.Cut && c.tornAfter(line) {
			return true
		}
	}
	return false
}

// tornAfter says whether a line is the beginning of a record behind the noted
// ones: of how many, nobody knows, but a cut comes soon after the notes. ext4
// can note the new size of a file before the bytes of its last block, which
// then read as zeros where nobody asked for a sync.
func (c *Claim) tornAfter(line string) bool {
	const soon = 1000
	line = strings.TrimRight(line, "\x00")
	if c.Kind == Same || c.Kind == SameKept {
		return c.beginsWith(0, line)
	}
	for number := c.last() + 1; number < c.last()+soon; number++ {
		if c.beginsWith(number, line) {
			return true
		}
	}
	return false
}

func (c *Claim) beginsWith(number int, line string) bool {
	k := clerk{Writer: c.Writer}
	return strings.HasPrefix(k.text(number), line)
}

func first(numbers []int) []int { return numbers[:min(len(numbers), 20)] }

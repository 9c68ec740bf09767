package harness

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// finished is what a finished file may be called: a stream's part, or the
// file of a writer of Files.
var finished = regexp.MustCompile(`^(part-[0-9a-f]{16}-[0-9]+|[a-z0-9-]+-[0-9]+\.csv)$`)

// reserved is where the program tries what a store can do. No mount shows it.
const reserved = "_sinkfs/"

// Unfinished says whether a name is none of a finished file.
func Unfinished(key string) bool { return !finished.MatchString(path.Base(key)) }

// stock is what a target holds: all records in their order, and all files.
type stock struct {
	lines   map[string][]line // writer → its records, by sink, then part number, then place
	same    map[string]int    // writer → its identical records
	files   map[string][]byte // key → content, of the file sinks
	strange []strayLine
}

// line is a record by its number, in a part.
type line struct {
	number int
	part   string
}

// strayLine is a line that is no record.
type strayLine struct {
	key  string
	text string
}

// part is a key with the number in it.
type part struct {
	key, sink string
	n         int
}

// takeStock reads a whole target. sinks are the paths of the sinks below the
// root: a key belongs to the one that it lies in.
func takeStock(ctx context.Context, target Shelf, sinks []string) (*stock, error) {
	s := &stock{lines: map[string][]line{}, same: map[string]int{}, files: map[string][]byte{}}
	listed, err := target.List(ctx)
	if err != nil {
		return nil, err
	}
	var parts []part
	for key := range listed {
		if Unfinished(key) {
			return nil, fmt.Errorf("target holds %q, which is no name of a finished file", key)
		}
		if strings.HasSuffix(key, ".csv") {
			if s.files[key], err = target.Read(ctx, key); err != nil {
				return nil, err
			}
			continue
		}
		n, err := strconv.Atoi(key[strings.LastIndexByte(key, '-')+1:])
		if err != nil {
			return nil, err
		}
		parts = append(parts, part{key, sinkOf(key, sinks), n})
	}
	slices.SortFunc(parts, func(a, b part) int {
		if a.sink != b.sink {
			return strings.Compare(a.sink, b.sink)
		}
		return a.n - b.n
	})
	for _, p := range parts {
		data, err := target.Read(ctx, p.key)
		if err != nil {
			return nil, err
		}
		s.add(p.key, string(data))
	}
	return s, nil
}

func sinkOf(key string, sinks []string) string {
	for _, s := range sinks {
		if strings.HasPrefix(key, s+"/") {
			return s
		}
	}
	return ""
}

// add adds the records of a part.
func (s *stock) add(key, data string) {
	for l := range strings.Lines(data) {
		text, whole := strings.CutSuffix(l, "\n")
		writer, number, identical, ok := parse(text)
		switch {
		case !ok || !whole:
			s.strange = append(s.strange, strayLine{key, text})
		case identical:
			s.same[writer]++
		default:
			s.lines[writer] = append(s.lines[writer], line{number, key})
		}
	}
}

package harness

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// finished is what a finished file may be called: a stream's part, or the
// file of a writer of Files.
var finished = regexp.MustCompile(`^(part-[0-9a-f]{16}-[0-9]+|[a-z0-9-]+-[0-9]+\.csv)$`)

// Unfinished says whether a name is none of a finished file.
func Unfinished(key string) bool { return !finished.MatchString(path.Base(key)) }

// Object is a finished file as it was first seen.
type Object struct {
	size int64
	sum  [32]byte
}

// walk calls fn for each file below dir, with its path from there.
func walk(dir string, fn func(key string, info fs.FileInfo) error) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		key, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		return fn(key, info)
	})
}

// shelf is what a target holds: all records in their order, and all files.
type shelf struct {
	lines   map[string][]int  // writer → numbers of its records, by sink, then part number, then place
	same    map[string]int    // writer → its identical records
	files   map[string][]byte // key → content, of the file sinks
	strange []strayLine
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

// readShelf reads a whole target. sinks are the paths of the sinks below the
// root: a key belongs to the one that it lies in.
func readShelf(target string, sinks []string) (*shelf, error) {
	s := &shelf{lines: map[string][]int{}, same: map[string]int{}, files: map[string][]byte{}}
	var parts []part
	err := walk(target, func(key string, _ fs.FileInfo) error {
		if Unfinished(key) {
			return fmt.Errorf("target holds %q, which is no name of a finished file", key)
		}
		if strings.HasSuffix(key, ".csv") {
			data, err := os.ReadFile(filepath.Join(target, key))
			s.files[key] = data
			return err
		}
		n, err := strconv.Atoi(key[strings.LastIndexByte(key, '-')+1:])
		parts = append(parts, part{key, sinkOf(key, sinks), n})
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	slices.SortFunc(parts, func(a, b part) int {
		if a.sink != b.sink {
			return strings.Compare(a.sink, b.sink)
		}
		return a.n - b.n
	})
	for _, p := range parts {
		data, err := os.ReadFile(filepath.Join(target, p.key))
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
func (s *shelf) add(key, data string) {
	for line := range strings.Lines(data) {
		text, whole := strings.CutSuffix(line, "\n")
		writer, number, identical, ok := parse(text)
		switch {
		case !ok || !whole:
			s.strange = append(s.strange, strayLine{key, text})
		case identical:
			s.same[writer]++
		default:
			s.lines[writer] = append(s.lines[writer], number)
		}
	}
}

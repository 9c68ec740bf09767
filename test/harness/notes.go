package harness

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// notebook is how a writer says what the program under test told it: a plain
// file outside of any mount, a line for each call that returned. "a N": record
// N was written; "f N why": the call failed, the record may be there or not.
type notebook struct{ file *os.File }

func openNotebook(path string) (*notebook, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return &notebook{f}, nil
}

func (n *notebook) acked(number int) error {
	_, err := n.file.WriteString("a " + strconv.Itoa(number) + "\n")
	return err
}

func (n *notebook) failed(number int, why error) error {
	_, err := fmt.Fprintf(n.file, "f %d %s\n", number, strings.ReplaceAll(why.Error(), "\n", " "))
	return err
}

func (n *notebook) close() error { return n.file.Close() }

// Notes are what one writer noted.
type Notes struct {
	Acked  []int
	Failed map[int]string // number → why
}

// ReadNotes reads what a writer has noted so far. A writer that noted nothing
// yet has no notes.
func ReadNotes(path string) (*Notes, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	n := &Notes{Failed: map[int]string{}}
	for line := range bytes.Lines(data) {
		kind, rest, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		text, why, _ := strings.Cut(rest, " ")
		number, err := strconv.Atoi(text)
		if err != nil {
			if bytes.HasSuffix(line, []byte("\n")) {
				return nil, fmt.Errorf("notes %s: %q", path, line)
			}
			continue // being written
		}
		switch kind {
		case "a":
			n.Acked = append(n.Acked, number)
		case "f":
			n.Failed[number] = why
		default:
			return nil, fmt.Errorf("notes %s: %q", path, line)
		}
	}
	return n, nil
}

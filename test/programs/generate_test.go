package programs_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
)

// generateEnv makes the test binary print lines instead of running tests:
// "WRITER FROM COUNT".
const generateEnv = "PROGRAMS_GENERATE"

func generate(request string, w io.Writer) error {
	var writer, from, count int
	if _, err := fmt.Sscanf(request, "%d %d %d", &writer, &from, &count); err != nil {
		return fmt.Errorf("%s=%q: %w", generateEnv, request, err)
	}
	out := bufio.NewWriterSize(w, 1<<16)
	for seq := from; seq < from+count; seq++ {
		if _, err := out.Write(appendLine(out.AvailableBuffer(), writer, seq)); err != nil {
			return err
		}
	}
	return out.Flush()
}

// padding is what lines are filled up with.
var padding = bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog 0123456789 "), 20)

// appendLine appends the one line of a writer with a number: 30 to 430 bytes.
func appendLine(b []byte, writer, seq int) []byte {
	b = fmt.Appendf(b, "%02d %09d ", writer, seq)
	h := uint32(seq)*2654435761 + uint32(writer)*40503
	h ^= h >> 15
	at, n := int(h%500), int(17+h>>9%401)
	b = append(b, padding[at:at+n]...)
	return append(b, '\n')
}

// parseLine says whose line it is, if it is one, as a whole.
func parseLine(line []byte, scratch []byte) (writer, seq int, ok bool) {
	if len(line) < 13 || line[2] != ' ' || line[12] != ' ' {
		return 0, 0, false
	}
	writer, err := strconv.Atoi(string(line[:2]))
	if err != nil {
		return 0, 0, false
	}
	if seq, err = strconv.Atoi(string(line[3:12])); err != nil {
		return 0, 0, false
	}
	return writer, seq, bytes.Equal(line, appendLine(scratch[:0], writer, seq))
}

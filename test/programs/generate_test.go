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
const padding = "the quick brown fox jumps over the lazy dog 0123456789 THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG " +
	"sphinx of black quartz judge my vow 9876543210 SPHINX OF BLACK QUARTZ JUDGE MY VOW pack my box with five dozen jugs " +
	"how vexingly quick daft zebras jump 0246813579 HOW VEXINGLY QUICK DAFT ZEBRAS JUMP waltz bad nymph for quick jigs "

// appendLine appends the one line of a writer with a number: 30 to 250 bytes.
func appendLine(b []byte, writer, seq int) []byte {
	b = appendPadded(b, writer, 2)
	b = append(b, ' ')
	b = appendPadded(b, seq, 9)
	b = append(b, ' ')
	h := uint32(seq)*2654435761 + uint32(writer)*40503
	h ^= h >> 15
	at := int(h % 100)
	n := 17 + int(h>>9)%(len(padding)-100-17)
	b = append(b, padding[at:at+n]...)
	return append(b, '\n')
}

func appendPadded(b []byte, n, width int) []byte {
	var digits [20]byte
	d := strconv.AppendInt(digits[:0], int64(n), 10)
	for range width - len(d) {
		b = append(b, '0')
	}
	return append(b, d...)
}

// parseLine says whose line it is, if it is one, as a whole.
func parseLine(line, scratch []byte) (writer, seq int, ok bool) {
	if len(line) < 13 || line[2] != ' ' || line[12] != ' ' {
		return 0, 0, false
	}
	for _, c := range line[:2] {
		writer = writer*10 + int(c-'0')
	}
	for _, c := range line[3:12] {
		seq = seq*10 + int(c-'0')
	}
	if writer < 0 || seq < 0 {
		return 0, 0, false
	}
	return writer, seq, bytes.Equal(line, appendLine(scratch[:0], writer, seq))
}

package harness

import (
	"fmt"
	"strconv"
	"strings"
)

// A record is "<writer> <number> <length> <filler>.", so that a reader knows
// from itself whether it is whole. Records of writers of identical lines have
// the number "same".

const same = "same"

// filler is what pads a record; its bytes depend on where they stand, so that
// a hole or a repetition inside shows.
const filler = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

func pad(n int) string {
	return strings.Repeat(filler, n/len(filler)+1)[:n]
}

// Record is the line of a writer with that number and length of its filler.
func Record(writer string, number, length int) string {
	return fmt.Sprintf("%s %d %d %s.\n", writer, number, length, pad(length))
}

// SameRecord is the line of a writer of identical lines.
func SameRecord(writer string) string { return fmt.Sprintf("%s %s 0 .\n", writer, same) }

// parse takes a line apart; ok is false when it is not one whole record.
func parse(line string) (writer string, number int, identical, ok bool) {
	f := strings.Split(line, " ")
	if len(f) != 4 {
		return "", 0, false, false
	}
	length, err := strconv.Atoi(f[2])
	if err != nil || f[3] != pad(length)+"." {
		return "", 0, false, false
	}
	if f[1] == same {
		return f[0], 0, true, true
	}
	number, err = strconv.Atoi(f[1])
	return f[0], number, false, err == nil
}

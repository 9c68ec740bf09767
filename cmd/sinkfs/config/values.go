package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written as 128MiB.
type Size int64

// sizeUnits, the largest first, so that a size prints in the largest unit
// that divides it.
var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}}

// UnmarshalText reads a whole or decimal number with a unit; bytes need none.
func (s *Size) UnmarshalText(text []byte) error {
	word := strings.TrimSpace(string(text))
	digits := strings.TrimRight(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit := strings.TrimSpace(word[len(digits):])
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || n < 0 || strings.ContainsAny(digits, "eEnN") {
		return fmt.Errorf("%q is not a size, write for example 128MiB", word)
	}
	if unit == "" {
		unit = "B"
	}
	for _, u := range sizeUnits {
		if !strings.EqualFold(u.name, unit) {
			continue
		}
		if n *= float64(u.bytes); n >= math.MaxInt64 || n != math.Trunc(n) {
			return fmt.Errorf("%q is not a whole number of bytes below 8 EiB", word)
		}
		*s = Size(n)
		return nil
	}
	return fmt.Errorf("%q has no unit of bytes, write for example 128MiB; units are B, KiB, MiB, GiB, TiB, kB, MB, GB, TB", word)
}

func (s Size) String() string {
	for _, u := range sizeUnits {
		if n := int64(s); n != 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

// MarshalYAML writes it as it is read.
func (s Size) MarshalYAML() (any, error) { return s.String(), nil }

// Duration is a span of time, written as 60s.
type Duration time.Duration

// UnmarshalText reads what Go's durations are, and days.
func (d *Duration) UnmarshalText(text []byte) error {
	word := strings.TrimSpace(string(text))
	if word == "0" {
		*d = 0
		return nil
	}
	if n, err := strconv.ParseFloat(word, 64); err == nil {
		return fmt.Errorf("%q has no unit of time, write for example %gs", word, n)
	}
	if days, ok := strings.CutSuffix(word, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			*d = Duration(time.Duration(n) * 24 * time.Hour)
			return nil
		}
	}
	v, err := time.ParseDuration(word)
	if err != nil {
		return fmt.Errorf("%q is not a duration, write for example 60s, 10m or 24h", word)
	}
	if v < 0 {
		return fmt.Errorf("%q is negative, a duration is not", word)
	}
	*d = Duration(v)
	return nil
}

func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// MarshalYAML writes it as it is read.
func (d Duration) MarshalYAML() (any, error) { return d.String(), nil }

// FileMode is permission bits, written as 0640.
type FileMode uint32

// UnmarshalText reads octal digits.
func (m *FileMode) UnmarshalText(text []byte) error {
	word := strings.TrimSpace(string(text))
	n, err := strconv.ParseUint(strings.TrimPrefix(word, "0o"), 8, 32)
	if err != nil || n > 0o777 {
		return fmt.Errorf("%q is not a mode, write four octal digits, for example 0640", word)
	}
	*m = FileMode(n)
	return nil
}

func (m FileMode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// MarshalYAML writes it as it is read.
func (m FileMode) MarshalYAML() (any, error) { return m.String(), nil }

func parseBool(word string) (bool, error) {
	switch word {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", word)
}

func parseInt(word string) (int64, error) {
	n, err := strconv.ParseInt(word, 10, 32)
	if errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%q is too large", word)
	}
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", word)
	}
	return n, nil
}

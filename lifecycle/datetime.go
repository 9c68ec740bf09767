package lifecycle

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// DateTime is Flink's DateTimeBucketAssigner: the time at which a record was
// seen, by a pattern in the letters of Java's DateTimeFormatter.
type DateTime struct {
	zone   *time.Location
	fields []field
}

// DefaultPattern is one bucket per hour, as Flink has it.
const DefaultPattern = "yyyy-MM-dd--HH"

// longestDateTime bounds the directories of a bucket, in bytes.
const longestDateTime = 48

// NewDateTime returns an error that names the first letter it does not know,
// or what cannot be a directory.
func NewDateTime(pattern string, zone *time.Location) (*DateTime, error) {
	d, err := parseDateTime(pattern, zone)
	if err != nil {
		return nil, err
	}
	// Only quoted text and separators decide what is not a name: any time
	// shows it.
	if err := checkDirs(slashes(d.Assign(nil, time.Unix(0, 0)))); err != nil {
		return nil, fmt.Errorf("bucket pattern %q: %w", pattern, err)
	}
	return d, nil
}

func parseDateTime(pattern string, zone *time.Location) (*DateTime, error) {
	d := &DateTime{zone: zone}
	for rest := pattern; rest != ""; {
		f, n, err := nextField(rest)
		if err != nil {
			return nil, fmt.Errorf("bucket pattern %q: %w", pattern, err)
		}
		d.fields, rest = append(d.fields, f), rest[n:]
	}
	return d, nil
}

// checkDirs refuses directories that would not be as they are written.
func checkDirs(dirs string) error {
	for name := range strings.SplitSeq(dirs, "/") {
		switch {
		case name == "", strings.HasPrefix(name, "."), name == ManifestName, strings.TrimSpace(name) != name,
			!utf8.ValidString(name), strings.ContainsFunc(name, unicode.IsControl):
			return fmt.Errorf("its directories would be %q, in which %q cannot stand: write for example %s", dirs, name, DefaultPattern)
		}
	}
	if len(dirs) > longestDateTime {
		return fmt.Errorf("its directories would have %d bytes, write at most %d", len(dirs), longestDateTime)
	}
	return nil
}

// Assign implements Assigner.
func (d *DateTime) Assign(_ []byte, seen time.Time) string {
	t := seen.In(d.zone)
	var b strings.Builder
	for _, f := range d.fields {
		b.WriteString(f(t))
	}
	return b.String()
}

// ByRecord implements Assigner.
func (*DateTime) ByRecord() bool { return false }

type field func(time.Time) string

// nextField reads one run of equal letters, one quoted text or one other
// character, and says how many bytes of the pattern it took.
func nextField(p string) (field, int, error) {
	c := p[0]
	if c == '\'' {
		return quoted(p)
	}
	if !isLetter(c) {
		if c == '[' || c == ']' {
			return literal(""), 1, nil // optional to a parser
		}
		if strings.IndexByte("{}#", c) >= 0 {
			return nil, 0, fmt.Errorf("%q is reserved, put it into quotes", c)
		}
		return literal(p[:1]), 1, nil
	}
	n := len(p) - len(strings.TrimLeft(p, p[:1]))
	f := letters(c, n)
	if f == nil {
		return nil, 0, fmt.Errorf("letters %q are not known, use y M d H m s or another of Java's DateTimeFormatter, or quote them", p[:n])
	}
	return f, n, nil
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func literal(s string) field { return func(time.Time) string { return s } }

// quoted reads '…', in which two stand for one quote.
func quoted(p string) (field, int, error) {
	var b strings.Builder
	for i := 1; i < len(p); i++ {
		switch {
		case p[i] != '\'':
			b.WriteByte(p[i])
		case i+1 < len(p) && p[i+1] == '\'':
			b.WriteByte('\'')
			i++
		default:
			if i == 1 {
				return literal("'"), 2, nil
			}
			return literal(b.String()), i + 1, nil
		}
	}
	return nil, 0, fmt.Errorf("a quote is not closed")
}

// letters is the field for n times the letter c, nil when Java has none, or
// one that nobody would name a directory by.
func letters(c byte, n int) field {
	switch c {
	case 'y', 'u', 'Y':
		return year(c, n)
	case 'X', 'x', 'Z':
		return offset(c, n)
	case 'Q', 'q':
		return quarter(n)
	case 'G':
		return era(n)
	case 'S':
		return func(t time.Time) string { return (pad(t.Nanosecond(), 9) + strings.Repeat("0", n))[:n] }
	case 'V':
		if n == 2 {
			return func(t time.Time) string { return t.Location().String() }
		}
		return nil
	}
	if f := word(c, n); f != nil {
		return f
	}
	if d, ok := digits[c]; ok && n <= d.widest {
		return func(t time.Time) string { return pad(d.value(t), n) }
	}
	return nil
}

// digits are the letters that stand for a number, padded to how often they
// are written, at most widest times.
var digits = map[byte]struct {
	widest int
	value  func(time.Time) int
}{
	'M': {2, month}, 'L': {2, month},
	'd': {2, time.Time.Day},
	'D': {3, time.Time.YearDay},
	'w': {2, func(t time.Time) int { _, w := week(t); return w }},
	'W': {1, func(t time.Time) int { return (t.Day()+5-int(t.Weekday()))/7 + 1 }},
	'F': {1, func(t time.Time) int { return (t.Day()-1)%7 + 1 }},
	'e': {2, weekday}, 'c': {1, weekday},
	'H': {2, time.Time.Hour},
	'k': {2, func(t time.Time) int { return (t.Hour()+23)%24 + 1 }},
	'K': {2, func(t time.Time) int { return t.Hour() % 12 }},
	'h': {2, func(t time.Time) int { return (t.Hour()+11)%12 + 1 }},
	'm': {2, time.Time.Minute},
	's': {2, time.Time.Second},
	'n': {19, time.Time.Nanosecond},
	'N': {19, sinceMidnight},
	'A': {19, func(t time.Time) int { return sinceMidnight(t) / 1e6 }},
	'g': {19, func(t time.Time) int { // modified Julian day
		y, m, d := t.Date()
		return int(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix()/86400) + 40587
	}},
}

func month(t time.Time) int { return int(t.Month()) }

// weekday counts from Sunday, as Java does in English.
func weekday(t time.Time) int { return int(t.Weekday()) + 1 }

func sinceMidnight(t time.Time) int {
	h, m, s := t.Clock()
	return ((h*60+m)*60+s)*1e9 + t.Nanosecond()
}

// week is the week-based year and the week of it, which begins on Sunday: the
// first has January 1, as in Java's English.
func week(t time.Time) (year, week int) {
	saturday := t.AddDate(0, 0, int(time.Saturday-t.Weekday()))
	return saturday.Year(), (saturday.YearDay()-1)/7 + 1
}

// year has a plus when it does not fit into four letters or more; two letters
// are its last two digits.
func year(c byte, n int) field {
	if n > 19 {
		return nil
	}
	return func(t time.Time) string {
		y := t.Year()
		switch {
		case c == 'Y':
			y, _ = week(t)
		case c == 'y' && y < 1: // of the era
			y = 1 - y
		}
		if n == 2 {
			return pad(max(y%100, -(y%100)), 2)
		}
		s := pad(y, n)
		if n >= 4 && y > 0 && len(s) > n {
			s = "+" + s
		}
		return s
	}
}

// offset is that of the zone from UTC.
func offset(c byte, n int) field {
	if n > 5 {
		return nil
	}
	return func(t time.Time) string {
		_, east := t.Zone()
		switch {
		case east == 0 && c == 'Z' && n == 4:
			return "GMT"
		case east == 0 && (c == 'X' || c == 'Z' && n == 5):
			return "Z"
		}
		return t.Format(offsetLayout(c, n, east))
	}
}

// offsetLayout is the offset's as package time writes it; east is in seconds.
func offsetLayout(c byte, n, east int) string {
	layout := "-0700"
	switch {
	case n == 1 && c != 'Z' && east%3600 == 0:
		return "-07"
	case c == 'Z' && n == 4:
		layout = "GMT-07:00"
	case n == 5, n == 3 && c != 'Z':
		layout = "-07:00"
	}
	if n < 4 || east%60 == 0 {
		return layout
	}
	if strings.Contains(layout, ":") {
		return layout + ":00"
	}
	return layout + "00"
}

func quarter(n int) field {
	of := func(t time.Time) int { return (month(t)-1)/3 + 1 }
	switch n {
	case 1, 2:
		return func(t time.Time) string { return pad(of(t), n) }
	case 3:
		return func(t time.Time) string { return "Q" + strconv.Itoa(of(t)) }
	case 4:
		return func(t time.Time) string { return []string{"1st", "2nd", "3rd", "4th"}[of(t)-1] + " quarter" }
	case 5:
		return func(t time.Time) string { return strconv.Itoa(of(t)) }
	}
	return nil
}

func era(n int) field {
	names, ok := map[int][2]string{
		1: {"BC", "AD"}, 2: {"BC", "AD"}, 3: {"BC", "AD"}, 4: {"Before Christ", "Anno Domini"}, 5: {"B", "A"},
	}[n]
	if !ok {
		return nil
	}
	return func(t time.Time) string {
		if t.Year() < 1 {
			return names[0]
		}
		return names[1]
	}
}

// word is a month, a day of the week or a half of the day, in English.
func word(c byte, n int) field {
	layout := map[string]string{
		"MMM": "Jan", "MMMM": "January", "LLL": "Jan", "LLLL": "January",
		"E": "Mon", "EE": "Mon", "EEE": "Mon", "EEEE": "Monday", "eee": "Mon", "eeee": "Monday", "ccc": "Mon", "cccc": "Monday",
		"a": "PM",
	}[strings.Repeat(string(c), n)]
	switch {
	case layout != "":
		return func(t time.Time) string { return t.Format(layout) }
	case n == 5 && (c == 'M' || c == 'L'):
		return func(t time.Time) string { return t.Month().String()[:1] }
	case n == 5 && (c == 'E' || c == 'e' || c == 'c'):
		return func(t time.Time) string { return t.Weekday().String()[:1] }
	}
	return nil
}

// pad is for numbers that are not negative, but for years.
func pad(v, n int) string {
	if v < 0 {
		return "-" + pad(-v, n)
	}
	s := strconv.Itoa(v)
	return strings.Repeat("0", max(0, n-len(s))) + s
}

package lifecycle

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Assigner chooses the bucket of a record. The string it returns is the
// bucket's identity; Dir makes a directory of it.
type Assigner interface {
	// Assign is called with the time at which the record's end was seen. An
	// assigner that is not ByRecord gets a nil record and is called once for
	// all records that were seen together.
	Assign(record []byte, seen time.Time) string
	ByRecord() bool
}

// bucketDir is the directory below the sink that a bucket's parts go to: a
// relative path that never climbs out.
func bucketDir(bucket string) string {
	d := strings.TrimPrefix(path.Clean("/"+strings.TrimSpace(bucket)), "/")
	return d
}

// BasePath puts everything into the directory that the program chose.
type BasePath struct{}

// Assign implements Assigner.
func (BasePath) Assign([]byte, time.Time) string { return "" }

// ByRecord implements Assigner.
func (BasePath) ByRecord() bool { return false }

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
	d := &DateTime{zone: zone}
	for rest := pattern; rest != ""; {
		f, n, err := nextField(rest)
		if err != nil {
			return nil, fmt.Errorf("bucket pattern %q: %w", pattern, err)
		}
		d.fields, rest = append(d.fields, f), rest[n:]
	}
	// Only quoted text and separators decide what is not a name: any time
	// shows it.
	if err := checkDirs(d.Assign(nil, time.Unix(0, 0))); err != nil {
		return nil, fmt.Errorf("bucket pattern %q: %w", pattern, err)
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
		if strings.IndexByte("{}#[]", c) >= 0 {
			return nil, 0, fmt.Errorf("%q is reserved, put it into quotes", c)
		}
		return literal(p[:1]), 1, nil
	}
	n := len(p) - len(strings.TrimLeft(p, p[:1]))
	f := letters(c, n)
	if f == nil {
		return nil, 0, fmt.Errorf("letters %q are not known, use y M d D H h k K m s S a E n Q Z X or quote them", p[:n])
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

// letters is the field for n times the letter c, nil when there is none.
func letters(c byte, n int) field {
	if n <= 2 || c == 'y' || c == 'u' || c == 'D' || c == 'S' || c == 'n' {
		if f := number(c, n); f != nil {
			return f
		}
	}
	layout := map[string]string{
		"MMM": "Jan", "MMMM": "January", "E": "Mon", "EE": "Mon", "EEE": "Mon", "EEEE": "Monday", "a": "PM",
		"Z": "-0700", "ZZ": "-0700", "ZZZ": "-0700", "X": "Z07", "XX": "Z0700", "XXX": "Z07:00",
	}[strings.Repeat(string(c), n)]
	if layout == "" {
		return nil
	}
	return func(t time.Time) string { return t.Format(layout) }
}

// number is a field of digits, padded to n.
func number(c byte, n int) field {
	var value func(time.Time) int
	switch c {
	case 'y', 'u':
		if n == 2 {
			return func(t time.Time) string { return pad(t.Year()%100, 2) }
		}
		value = time.Time.Year
	case 'M':
		value = func(t time.Time) int { return int(t.Month()) }
	case 'Q':
		value = func(t time.Time) int { return (int(t.Month())-1)/3 + 1 }
	case 'd':
		value = time.Time.Day
	case 'D':
		value = time.Time.YearDay
	case 'H':
		value = time.Time.Hour
	case 'k':
		value = func(t time.Time) int { return (t.Hour()+23)%24 + 1 }
	case 'K':
		value = func(t time.Time) int { return t.Hour() % 12 }
	case 'h':
		value = func(t time.Time) int { return (t.Hour()+11)%12 + 1 }
	case 'm':
		value = time.Time.Minute
	case 's':
		value = time.Time.Second
	case 'n':
		value = time.Time.Nanosecond
	case 'S':
		return func(t time.Time) string { return (pad(t.Nanosecond(), 9) + strings.Repeat("0", n))[:n] }
	default:
		return nil
	}
	return func(t time.Time) string { return pad(value(t), n) }
}

func pad(v, n int) string {
	s := strconv.Itoa(v)
	return strings.Repeat("0", max(0, n-len(s))) + s
}

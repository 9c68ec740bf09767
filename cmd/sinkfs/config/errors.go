package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

var (
	// ErrInvalid is the kind of every error in what the user configured.
	ErrInvalid = errors.New("configuration is not valid")
	// ErrNotBuilt is a target whose store this program does not have.
	ErrNotBuilt = errors.New("not in this build")
)

// place is where a value was set: a place in the file, a variable, a flag.
type place string

// origin is the place of each key that was set, by its path: "mode",
// "sinks[0].bucket.pattern".
type origin map[string]place

// Error is one thing wrong with the configuration.
type Error struct {
	Place string // file:line:column, a flag or a variable; "" when it was set nowhere
	Text  string // what, why, what to do
}

func (e *Error) Error() string {
	if e.Place == "" {
		return e.Text
	}
	return e.Place + ": " + e.Text
}

// Is makes every Error an ErrInvalid.
func (*Error) Is(target error) bool { return target == ErrInvalid }

// Errors is all that is wrong, in the order of the file. As one line it shows
// the first.
type Errors []*Error

func (e Errors) Error() string {
	if len(e) == 1 {
		return e[0].Error()
	}
	return fmt.Sprintf("%v (and %d more, 'sinkfs config check' lists them)", e[0], len(e)-1)
}

// Is makes Errors an ErrInvalid.
func (Errors) Is(target error) bool { return target == ErrInvalid }

// orNil is e as an error that is nil when nothing is wrong.
func (e Errors) orNil() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// at adds an error about the key at path. Its text begins with the key.
func (e *Errors) at(from origin, path, format string, args ...any) {
	where, text := from[path], fmt.Sprintf(format, args...)
	*e = append(*e, &Error{Place: string(where), Text: path + ": " + text})
}

// quoteList names the words of which one is to be written.
func quoteList(words []string) string {
	words = slices.Clone(words)
	for i, w := range words {
		if w == "" {
			words[i] = `""`
		}
	}
	switch n := len(words); n {
	case 0:
		return "nothing"
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
}

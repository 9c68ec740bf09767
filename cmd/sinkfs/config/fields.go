package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// fieldsOf calls fn for each key of a struct of the configuration. The struct
// is the only definition of the keys: the decoder, the environment, the
// messages and the schema all go by it.
func fieldsOf(t reflect.Type, fn func(key string, f reflect.StructField)) {
	for f := range t.Fields() {
		if key := f.Tag.Get("yaml"); key != "" {
			fn(key, f)
		}
	}
}

func keysOf(t reflect.Type) []string {
	var keys []string
	fieldsOf(t, func(key string, _ reflect.StructField) { keys = append(keys, key) })
	return keys
}

func isGroup(t reflect.Type) bool { return t.Kind() == reflect.Struct }

// everyKey is every key there is, with its path from the top: "checkpoint",
// "checkpoint.interval", "sinks[].bucket".
func everyKey(t reflect.Type, prefix string) []string {
	var keys []string
	fieldsOf(t, func(key string, f reflect.StructField) {
		keys = append(keys, prefix+key)
		switch {
		case isGroup(f.Type):
			keys = append(keys, everyKey(f.Type, prefix+key+".")...)
		case f.Type.Kind() == reflect.Slice && isGroup(f.Type.Elem()):
			keys = append(keys, everyKey(f.Type.Elem(), prefix+key+"[].")...)
		}
	})
	return keys
}

// setScalar gives one value its text.
func setScalar(v reflect.Value, f reflect.StructField, text string) error {
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.Bool:
		b, err := parseBool(text)
		v.SetBool(b)
		return err
	case reflect.Int:
		n, err := parseInt(text)
		v.SetInt(n)
		return err
	case reflect.String:
		if enum := f.Tag.Get("enum"); enum != "" {
			if known := strings.Split(enum, ","); !slices.Contains(known, text) {
				return fmt.Errorf("%q is not one of its values, write %s", text, quoteList(known))
			}
		}
		v.SetString(text)
		return nil
	}
	return fmt.Errorf("a %s cannot be set", v.Kind())
}

// unknownKey says what to write instead of a key that is not known among
// those of t.
func unknownKey(key string, t reflect.Type) string {
	text := fmt.Sprintf("key %q is not known", key)
	if near, d := Nearest(key, keysOf(t)); d <= max(2, len(key)/3) {
		return fmt.Sprintf("%s, the nearest is %q", text, near)
	}
	all := everyKey(reflect.TypeFor[Config](), "")
	for _, k := range all {
		if k == key || strings.HasSuffix(k, "."+key) {
			return fmt.Sprintf("%s here, it belongs under %q", text, k)
		}
	}
	return fmt.Sprintf("%s, valid here are %s", text, strings.Join(keysOf(t), ", "))
}

// Nearest is the word that takes the fewest edits, and how many.
func Nearest(word string, words []string) (best string, distance int) {
	distance = len(word) + 100
	for _, w := range words {
		if d := edits(strings.ToLower(word), w); d < distance {
			best, distance = w, d
		}
	}
	return best, distance
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		above := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := above
			if a[i] != b[j] {
				cost++
			}
			above = row[j+1]
			row[j+1] = min(cost, row[j]+1, above+1)
		}
	}
	return row[len(b)]
}

package backend

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Validate reports ErrKey unless k names an object: no leading or trailing
// slash, no empty, "." or ".." element, no NUL byte, at most limit bytes.
func (k Key) Validate(limit int) error {
	if len(k) > limit {
		return fmt.Errorf("key %.40q… has %d bytes, the store takes %d, use shorter names: %w", string(k), len(k), limit, ErrKey)
	}
	if strings.IndexByte(string(k), 0) >= 0 {
		return fmt.Errorf("key %q contains a NUL byte: %w", string(k), ErrKey)
	}
	for element := range strings.SplitSeq(string(k), "/") {
		if element == "" || element == "." || element == ".." {
			return fmt.Errorf("key %q has the element %q: %w", string(k), element, ErrKey)
		}
	}
	return nil
}

// Split returns the directory of k, "" for the target itself, and the name
// of k in it.
func (k Key) Split() (dir Key, name string) {
	i := strings.LastIndexByte(string(k), '/')
	return k[:max(i, 0)], string(k[i+1:])
}

// Join returns the key of name in the directory k, where "" is the target.
func (k Key) Join(name string) Key {
	if k == "" {
		return Key(name)
	}
	return k + "/" + Key(name)
}

// Validate reports what no store should be asked to hold: a key that is none
// (ErrKey, limit is Properties.MaxKey) or metadata beyond what all can keep.
func (o Object) Validate(limit int) error {
	if err := o.Key.Validate(limit); err != nil {
		return err
	}
	if o.Size < 0 {
		return fmt.Errorf("put %q: %d is no size", string(o.Key), o.Size)
	}
	if err := o.Meta.Validate(); err != nil {
		return fmt.Errorf("put %q: %w", string(o.Key), err)
	}
	return nil
}

// Validate refuses metadata that not every store could keep.
func (m Meta) Validate() error {
	size := 0
	for key, value := range m {
		size += len(key) + len(value)
		if key == "" || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return fmt.Errorf("metadata key %q: only a-z, 0-9 and '-' are allowed", key)
		}
		if !utf8.ValidString(value) {
			return fmt.Errorf("metadata %s=%q is not UTF-8", key, value)
		}
	}
	if size > MaxMeta {
		return fmt.Errorf("metadata of %d bytes: at most %d are allowed", size, MaxMeta)
	}
	return nil
}

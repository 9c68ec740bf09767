package backend_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
)

func TestKey(t *testing.T) {
	for _, test := range []struct {
		key, dir backend.Key
		name     string
	}{
		{"a", "", "a"},
		{"a/b", "a", "b"},
		{"a/b c/d", "a/b c", "d"},
	} {
		dir, name := test.key.Split()
		if dir != test.dir || name != test.name || dir.Join(name) != test.key {
			t.Errorf("%q splits into %q and %q, joined %q", test.key, dir, name, dir.Join(name))
		}
		if err := test.key.Validate(len(test.key)); err != nil {
			t.Errorf("Validate(%q) = %v", test.key, err)
		}
		if err := test.key.Validate(len(test.key) - 1); !errors.Is(err, backend.ErrKey) {
			t.Errorf("Validate(%q) with a limit below = %v", test.key, err)
		}
	}
	for _, k := range []backend.Key{"", "/", "a/", "/a", "a//b", ".", "..", "a/..", "./a", "a\x00"} {
		if err := k.Validate(1023); !errors.Is(err, backend.ErrKey) {
			t.Errorf("Validate(%q) = %v, want ErrKey", k, err)
		}
	}
}

func TestMetaLimit(t *testing.T) {
	full := backend.Meta{"a-1": strings.Repeat("x", backend.MaxMeta-3)}
	if err := full.Validate(); err != nil {
		t.Errorf("Validate of %d bytes = %v", backend.MaxMeta, err)
	}
	for name, m := range map[string]backend.Meta{
		"too much": {"a-1": strings.Repeat("x", backend.MaxMeta-2)}, "no key": {"": "a"}, "upper case": {"A": ""}, "no text": {"a": "\xff"},
	} {
		if err := m.Validate(); err == nil {
			t.Errorf("Validate of metadata (%s) succeeded", name)
		}
	}
	if err := (backend.Object{Key: "a", Size: -1}).Validate(1023); err == nil {
		t.Error("Validate of a negative size succeeded")
	}
}

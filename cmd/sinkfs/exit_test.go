package main

import (
	"errors"
	"testing"
)

func TestMessageIsOneLine(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{nil, ""}, // a mount that ended well has nothing to say
		{&exitError{code: codeUnpublished}, ""},
		{errors.Join(errors.New("a"), errors.New("b")), "a; b"},
	} {
		if got := message(test.err); got != test.want {
			t.Errorf("message(%v) = %q, want %q", test.err, got, test.want)
		}
	}
}

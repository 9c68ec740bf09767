package objects

import (
	"errors"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
)

// TestCallErrorIsOneSentence, also where the store ends its own with a stop.
func TestCallErrorIsOneSentence(t *testing.T) {
	cause := errors.New("400")
	err := NewCallError("list s3://b", "The specified bucket is not valid.", Meaning{Kind: backend.ErrUnsupported, Remedy: "name another"}, cause)
	if got, want := err.Error(), "list s3://b: The specified bucket is not valid: name another"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(err, backend.ErrUnsupported) || !errors.Is(err, cause) {
		t.Errorf("%v is not of its kind, or without its cause", err)
	}
}

package mem_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/backendtest"
	"github.com/sinkfs/sinkfs/backend/mem"
)

func TestStore(t *testing.T) {
	backendtest.Run(t, func(*testing.T) backendtest.Target {
		s := mem.New(mem.Options{Unit: 512})
		return backendtest.Target{
			Store:   s,
			Foreign: func(_ *testing.T, k backend.Key, body []byte) { s.Foreign(k, body) },
			Expire:  func(*testing.T) { s.Expire() },
		}
	})
}

func TestHooks(t *testing.T) {
	failure := errors.New("told to fail")
	var before, after bool
	hook := func(on *bool) mem.Hook {
		return func(_ context.Context, op mem.Op, _ backend.Key) error {
			if *on && op == mem.Put {
				return failure
			}
			return nil
		}
	}
	s := mem.New(mem.Options{Before: hook(&before), After: hook(&after)})
	o := backend.Object{Key: "a", Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("")), nil }}

	before = true
	if _, err := s.Put(t.Context(), o); !errors.Is(err, failure) {
		t.Errorf("Put = %v, want the hook's error", err)
	}
	if n := len(s.Objects()); n != 0 {
		t.Errorf("%d objects after an error before the Put", n)
	}
	before, after = false, true
	if _, err := s.Put(t.Context(), o); !errors.Is(err, failure) {
		t.Errorf("Put = %v, want the hook's error", err)
	}
	if n := len(s.Objects()); n != 1 {
		t.Errorf("%d objects after a Put whose answer was lost, want 1", n)
	}
}

package local_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/backendtest"
	"github.com/sinkfs/sinkfs/backend/local"
	"github.com/sinkfs/sinkfs/internal/testfs"
)

func open(t *testing.T, dir string) *local.Store {
	t.Helper()
	s, err := local.Open(dir, nil)
	if err != nil {
		t.Fatalf("Open(%q) = %v", dir, err)
	}
	return s
}

func target(t *testing.T, dir string) backendtest.Target {
	t.Helper()
	return backendtest.Target{
		Store: open(t, dir),
		Foreign: func(t *testing.T, k backend.Key, body []byte) {
			t.Helper()
			path := filepath.Join(dir, string(k))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, body, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	}
}

func TestStore(t *testing.T) {
	testfs.Each(t, func(t *testing.T, dir string) {
		backendtest.Run(t, func(t *testing.T) backendtest.Target {
			t.Helper()
			dir, err := os.MkdirTemp(dir, "")
			if err != nil {
				t.Fatal(err)
			}
			return target(t, dir)
		})
	})
}

func put(t *testing.T, s *local.Store, k backend.Key, body string) backend.Info {
	t.Helper()
	info, err := s.Put(t.Context(), object(k, []byte(body)))
	if err != nil {
		t.Fatalf("Put(%q) = %v", k, err)
	}
	return info
}

func wantKind(t *testing.T, what string, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s = %v, want %v", what, err, kind)
	}
}

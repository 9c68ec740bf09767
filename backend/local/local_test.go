package local_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/backendtest"
	"github.com/sinkfs/sinkfs/backend/local"
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
	backendtest.Run(t, func(t *testing.T) backendtest.Target { return target(t, t.TempDir()) })
}

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sinkfs/sinkfs/cmd/sinkfs/config"
)

// TestOutsideNeedsNoWorkingDirectory: who names absolute paths may stand in a
// directory that is gone.
func TestOutsideNeedsNoWorkingDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &settings{cfg: &config.Config{StateDir: filepath.Join(t.TempDir(), "s")}}
	t.Chdir(dir)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.outside(); err != nil {
		t.Errorf("outside = %v", err)
	}
}

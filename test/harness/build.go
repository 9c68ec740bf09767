package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// built is what this test run has built, by build tags: once for all tests.
var built = struct {
	sync.Mutex
	dir    string
	binary map[string]string
}{binary: map[string]string{}}

// Binary is the program, built with those tags ("" or "faults") once per test
// run.
func Binary(tb testing.TB, tags string) string {
	tb.Helper()
	built.Lock()
	defer built.Unlock()
	if path := built.binary[tags]; path != "" {
		return path
	}
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "sinkfs-crash-") // TempDir would go with the first test
		if err != nil {
			tb.Fatal(err)
		}
		built.dir = dir
	}
	path := filepath.Join(built.dir, "sinkfs"+tags)
	if err := build(tb.Context(), path, tags); err != nil {
		tb.Fatal(err)
	}
	built.binary[tags] = path
	return path
}

func build(ctx context.Context, path, tags string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", tags, "-o", path, "github.com/sinkfs/sinkfs/cmd/sinkfs")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}

func removeBuilt() error {
	built.Lock()
	defer built.Unlock()
	if built.dir == "" {
		return nil
	}
	return os.RemoveAll(built.dir)
}

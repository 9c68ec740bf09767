package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// TestReplaceThatCannotBe: a configuration that became invalid, or another
// target, must not end a mount that runs.
func TestReplaceThatCannotBe(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "sinkfs.yaml")
	write := func(text string) {
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log := filepath.Join(t.TempDir(), "log")
	write("mode: streaming\n")
	f := mountHere(t, nil, "--config", conf, "--log-file", log)
	logged := func(text string) func() bool {
		return func() bool {
			data, err := os.ReadFile(log)
			return err == nil && strings.Contains(string(data), text)
		}
	}
	other := filepath.Join(filepath.Dir(f.target), "other")
	want(t, sinkfstest.Run(t, "mount", "--replace", "--state-dir", f.state, other, f.point), 6, "",
		"sinkfs: the mount at .* has the target file://.*/target, which cannot change to file://.*/other while it runs: unmount it first\n")
	write("mode: strem\n")
	if err := f.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the reason", logged(`mode: \"strem\" is not one of its values`))
	if err := os.WriteFile(filepath.Join(f.point, "a.log"), []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	write("mode: streaming\n")
	want(t, sinkfstest.Run(t, "umount", f.point), 0, "", "")
	if got := f.code(); got != 0 {
		t.Errorf("exit code %d, want 0", got)
	}
	if got := publishedText(t, f.target); got != "hello\n" {
		t.Errorf("published %q, want %q", got, "hello\n")
	}
}

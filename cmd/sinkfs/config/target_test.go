package config_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sinkfs/sinkfs/cmd/sinkfs/config"
)

func TestParseTarget(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"/data/target", "file:///data/target"},
		{"/data//target/", "file:///data/target"},
		{"file:///data/target/", "file:///data/target"},
		{"file:///data/with%20space", "file:///data/with%20space"},
		{"/data/with space", "file:///data/with%20space"},
		{"s3://logs", "s3://logs"},
		{"s3://logs/", "s3://logs"},
		{"s3://logs/prod/", "s3://logs/prod"},
		{"oss://logs/prod", "oss://logs/prod"},
		{"hdfs://nn:8020/x", "hdfs://nn:8020/x"},
	} {
		got, err := config.ParseTarget(tt.in)
		if err != nil || got.String() != tt.want {
			t.Errorf("%s: got %v, %v, want %s", tt.in, got, err, tt.want)
		}
	}
}

func TestStoresNotInThisBuild(t *testing.T) {
	for _, target := range []string{"hdfs://nn/x"} {
		c, err := config.Load("", nil, config.Override{Key: "target", Value: target})
		if err != nil {
			t.Fatal(err)
		}
		_, err = config.OpenStore(t.Context(), c, slog.New(slog.DiscardHandler))
		if !errors.Is(err, config.ErrNotBuilt) || !strings.Contains(err.Error(), target) {
			t.Errorf("%s: got %v, want an ErrNotBuilt that names it", target, err)
		}
	}
}

func TestTargetMissing(t *testing.T) {
	c, err := config.Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Lifecycle(); !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), "SINKFS_TARGET") {
		t.Errorf("got %v, want an ErrInvalid that says how to name a target", err)
	}
}

func TestStateDirOfTarget(t *testing.T) {
	dir := func(target string) string {
		c, err := config.Load("", nil, config.Override{Key: "target", Value: target})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Resolve(); err != nil {
			t.Fatal(err)
		}
		return c.StateDir
	}
	a, again, b := dir("/data/a"), dir("file:///data/a/"), dir("/data/b")
	if a != again || a == b || len(filepath.Base(a)) != 16 {
		t.Errorf("got %s, %s for the same target, %s for another", a, again, b)
	}
}

func TestSeparate(t *testing.T) {
	root := t.TempDir()
	for _, d := range []string{"target", "state", "mnt", "spool"} {
		if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("target", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ target, state, spool, mnt, want string }{
		{"target", "state", "", "mnt", ""},
		{"target", "state", "state/spool", "mnt", ""},
		{"target", "state", "spool", "mnt", ""},
		{"target", "target-state", "", "target2", ""},
		{"target", "state", "", "target/mnt", "the mountpoint ROOT/target/mnt lies inside the target ROOT/target, choose separate directories"},
		{"mnt/target", "state", "", "mnt", "the target ROOT/mnt/target lies inside the mountpoint ROOT/mnt, choose separate directories"},
		{"target", "target/a/b", "", "mnt", "the state directory ROOT/target/a/b lies inside the target ROOT/target, choose separate directories"},
		{"target", "mnt", "", "mnt", "the mountpoint ROOT/mnt lies inside the state directory ROOT/mnt, choose separate directories"},
		{"target", "state", "mnt/x", "mnt", "the spool directory ROOT/mnt/x lies inside the mountpoint ROOT/mnt, choose separate directories"},
		{"target", "spool/state", "spool", "mnt", "the state directory ROOT/spool/state lies inside the spool directory ROOT/spool, choose separate directories"},
		{"target", "state", "", "link/mnt", "the mountpoint ROOT/target/mnt lies inside the target ROOT/target, choose separate directories"},
		{"target", "link", "", "mnt", "the state directory ROOT/target lies inside the target ROOT/target, choose separate directories"},
	} {
		over := []config.Override{
			{Key: "target", Value: filepath.Join(root, tt.target)}, {Key: "state_dir", Value: filepath.Join(root, tt.state)},
		}
		if tt.spool != "" {
			over = append(over, config.Override{Key: "spool_dir", Value: filepath.Join(root, tt.spool)})
		}
		c, err := config.Load("", nil, over...)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := c.Separate(filepath.Join(root, tt.mnt)); err != nil {
			got = strings.ReplaceAll(err.Error(), root, "ROOT")
		}
		if got != tt.want {
			t.Errorf("%+v:\ngot  %s\nwant %s", tt, got, tt.want)
		}
	}
}

// TestTargetIsDecodedOnce: what is written escaped is opened as what it means,
// and told as it was written.
func TestTargetIsDecodedOnce(t *testing.T) {
	for _, c := range []struct{ target, place string }{
		{"s3://logs/a%2541", "s3://logs/a%41"},
		{"s3://logs/50%25/x", "s3://logs/50%/x"},
		{"s3://logs/user%40host", "s3://logs/user@host"},
		{"s3://logs/what%3Fx", "s3://logs/what?x"},
		{"s3://logs/a%23b", "s3://logs/a#b"},
		{"s3://logs/a%0Ab", "s3://logs/a\nb"},
	} {
		cfg, err := config.Load("", nil, config.Override{Key: "target", Value: c.target, Flag: "TARGET"})
		if err != nil {
			t.Errorf("%s: load: %v", c.target, err)
			continue
		}
		s, err := config.OpenStore(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Errorf("%s: config check says yes, open: %v", c.target, err)
			continue
		}
		if p := s.Properties(); p.Identity != c.place || p.URL != c.target {
			t.Errorf("%s: opens %s, it means %s, and says %s", c.target, p.Identity, c.place, p.URL)
		}
	}
}

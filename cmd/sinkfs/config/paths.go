package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// DefaultStateDir is the state directory of a target when none is configured:
// the same target finds the same one again.
func DefaultStateDir(target string) (string, error) {
	sum := sha256.Sum256([]byte(target))
	name := hex.EncodeToString(sum[:8])
	if os.Geteuid() == 0 {
		return filepath.Join("/var/lib/sinkfs", name), nil
	}
	if base := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(base) {
		return filepath.Join(base, "sinkfs", name), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("%w: no place for the state directory, set --state-dir: %w", ErrInvalid, err)
	}
	return filepath.Join(home, ".local/state/sinkfs", name), nil
}

// Separate refuses a target, state directory, spool directory and mountpoint
// of which one lies inside another: the mount would feed on itself.
func (c *Config) Separate(mountpoint string) error {
	type dir struct{ what, path string }
	dirs := []dir{{"mountpoint", mountpoint}, {"state directory", c.StateDir}}
	if t, err := ParseTarget(c.Target); err == nil && t.Scheme == "file" {
		dirs = append(dirs, dir{"target", t.Path})
	}
	if c.SpoolDir != "" {
		dirs = append(dirs, dir{"spool directory", c.SpoolDir})
	}
	for i := range dirs {
		p, err := RealPath(dirs[i].path)
		if err != nil {
			return Errors{{Text: fmt.Sprintf("%s %s: %v", dirs[i].what, dirs[i].path, err)}}
		}
		dirs[i].path = p
	}
	for _, a := range dirs {
		for _, b := range dirs {
			if a == b || !inside(a.path, b.path) || a.what == "spool directory" && b.what == "state directory" && a.path != b.path {
				continue
			}
			return Errors{{Text: fmt.Sprintf("the %s %s lies inside the %s %s, choose separate directories", a.what, a.path, b.what, b.path)}}
		}
	}
	return nil
}

func inside(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// RealPath resolves links as far as the path exists. The last component is
// only read as a link and never looked at: it may be a dead mount.
func RealPath(p string) (string, error) {
	p, err := filepath.Abs(p)
	if err != nil {
		return "", err
	}
	if to, err := os.Readlink(p); err == nil {
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(p), to)
		}
		if filepath.Clean(to) == p {
			return p, nil
		}
		p = filepath.Clean(to)
	}
	for parent, rest := filepath.Dir(p), filepath.Base(p); ; parent, rest = filepath.Dir(parent), filepath.Join(filepath.Base(parent), rest) {
		real, err := filepath.EvalSymlinks(parent)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		if parent == "/" || !os.IsNotExist(err) {
			return p, nil
		}
	}
}

package testserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Kind is a program that serves S3, or Rclone, which does not.
type Kind struct {
	Name    string
	Package string // of Go
	Version string
	command func(s *Server, addr string) (args, env []string)
}

// The kinds there are, pinned.
var (
	MinIO = Kind{
		Name: "minio", Package: "github.com/minio/minio", Version: "v0.0.0-20260212201848-7aac2a2c5b7c",
		command: func(s *Server, addr string) (args, env []string) {
			return []string{"server", "--quiet", "--address", addr, "--console-address", "127.0.0.1:0", filepath.Join(s.Dir, "data")},
				[]string{
					"MINIO_ROOT_USER=" + s.AccessKey, "MINIO_ROOT_PASSWORD=" + s.SecretKey, "MINIO_BROWSER=off", "MINIO_UPDATE=off",
					"MINIO_CI_CD=on", "MINIO_SITE_REGION=" + Region, "MINIO_SCANNER_SPEED=slowest",
				}
		},
	}
	VersityGW = Kind{
		Name: "versitygw", Package: "github.com/versity/versitygw/cmd/versitygw", Version: "v1.8.0",
		command: func(s *Server, addr string) (args, env []string) {
			return []string{"--port", addr, "--quiet", "--keep-alive", "--iam-dir", filepath.Join(s.Dir, "iam"), "posix", filepath.Join(s.Dir, "data")},
				[]string{"ROOT_ACCESS_KEY=" + s.AccessKey, "ROOT_SECRET_KEY=" + s.SecretKey}
		},
	}
	Kinds = []Kind{MinIO, VersityGW}

	// Rclone mounts buckets; measurements compare with it.
	Rclone = Kind{Name: "rclone", Package: "github.com/rclone/rclone", Version: "v1.75.1"}
)

// Program returns the path of the program, which it builds when it was never
// built on this machine. That takes minutes; other processes wait for it.
func (k Kind) Program(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "sinkfs-test", k.Name+"-"+k.Version)
	program := filepath.Join(dir, k.Name)
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(program); err == nil {
		return program, nil // somebody else built it meanwhile
	}
	return program, k.build(ctx, dir, program)
}

func (k Kind) build(ctx context.Context, dir, program string) (err error) {
	bin, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(bin)) }()
	cmd := exec.CommandContext(ctx, "go", "install", k.Package+"@"+k.Version)
	cmd.Dir = bin // outside of any module
	cmd.Env = append(os.Environ(), "GOBIN="+bin, "GOFLAGS=-buildvcs=false", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s@%s: %w\n%s", k.Package, k.Version, err, out)
	}
	return os.Rename(filepath.Join(bin, filepath.Base(k.Package)), program)
}

// lock waits for a file lock, which ends with the process at the latest.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		_ = f.Close() // the lock's error says more
		return nil, err
	}
	return func() { _ = f.Close() }, nil // which unlocks
}

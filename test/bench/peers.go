package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/internal/testserver"
)

// peer is another file system over the bucket, mounted.
type peer struct {
	name  string
	point string
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has, with err
	err   error
}

// mountRclone mounts with a cache of writes, which it uploads at once.
func (r *remote) mountRclone(ctx context.Context) (*peer, error) {
	program, err := testserver.Rclone.Program(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := r.b.fresh("rclone")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, "mount", "peer:"+bucketName+"/rclone", filepath.Join(dir, "mnt"),
		"--config", os.DevNull, "--cache-dir", filepath.Join(dir, "cache"), "--vfs-cache-mode", "writes", "--vfs-write-back", "0s")
	cmd.Env = append(os.Environ(), "RCLONE_CONFIG_PEER_TYPE=s3", "RCLONE_CONFIG_PEER_PROVIDER=Minio", "RCLONE_CONFIG_PEER_ENDPOINT="+r.server.URL,
		"RCLONE_CONFIG_PEER_ACCESS_KEY_ID="+testserver.AccessKey, "RCLONE_CONFIG_PEER_SECRET_ACCESS_KEY="+testserver.SecretKey)
	return r.b.peer("rclone", dir, cmd)
}

func (r *remote) mountS3fs(ctx context.Context) (*peer, error) {
	program, err := exec.LookPath("s3fs")
	if err != nil {
		return nil, fmt.Errorf("the section store compares with s3fs, install it (apt-get install s3fs): %w", err)
	}
	dir, err := r.b.fresh("s3fs")
	if err != nil {
		return nil, err
	}
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte(testserver.AccessKey+":"+testserver.SecretKey), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, bucketName, filepath.Join(dir, "mnt"), "-f",
		"-o", "url="+r.server.URL, "-o", "use_path_request_style", "-o", "passwd_file="+secret, "-o", "tmpdir="+dir)
	return r.b.peer("s3fs", dir, cmd)
}

// peer starts cmd and waits for its mount.
func (b *bench) peer(name, dir string, cmd *exec.Cmd) (*peer, error) {
	p := &peer{name: name, point: filepath.Join(dir, "mnt"), cmd: cmd, ended: make(chan struct{})}
	if err := os.Mkdir(p.point, 0o755); err != nil {
		return nil, err
	}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	b.peers = append(b.peers, p)
	for start := time.Now(); ; {
		var here, above unix.Stat_t
		if err := errors.Join(unix.Stat(p.point, &here), unix.Stat(dir, &above)); err == nil && here.Dev != above.Dev {
			return p, nil
		}
		select {
		case <-p.ended:
			return nil, fmt.Errorf("%s: %w: %s", name, p.err, said.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Since(start) > time.Minute {
			return nil, fmt.Errorf("%s does not mount", name)
		}
	}
}

// close unmounts, and waits until it has uploaded what it holds.
func (p *peer) close() error {
	if p.cmd == nil {
		return nil
	}
	cmd := p.cmd
	p.cmd = nil
	if err := unix.Unmount(p.point, 0); err != nil {
		return errors.Join(fmt.Errorf("umount of %s: %w", p.name, err), unix.Unmount(p.point, unix.MNT_DETACH), cmd.Process.Kill())
	}
	<-p.ended // how it ends says nothing
	return nil
}

func (p *peer) cpu() time.Duration { return cpuOf(p.cmd.Process.Pid) }

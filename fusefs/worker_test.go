package fusefs_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/backend/local"
	"github.com/sinkfs/sinkfs/fusefs"
	"github.com/sinkfs/sinkfs/fusefs/conn"
	"github.com/sinkfs/sinkfs/lifecycle"
)

// serve is the worker: the connection is descriptor 3, the memory 4, and 5 is
// closed when it answers.
func serve(c daemonConfig) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	memory, err := unix.Mmap(4, 0, fusefs.MemorySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	store, err := local.Open(filepath.Join(c.Dir, "target"), log)
	if err != nil {
		return err
	}
	files := lifecycle.DefaultSink()
	files.Path, files.File, files.Assigner = "files", true, lifecycle.BasePath{}
	root := lifecycle.DefaultSink()
	root.AllowDelete = c.AllowDelete
	notices := fusefs.NewNotices()
	in, err := lifecycle.Open(ctx, lifecycle.Config{
		StateDir: filepath.Join(c.Dir, "state"), Target: "test", Store: store, Sinks: []lifecycle.Sink{root, files},
		Batch: c.Batch, ReadUnfinished: c.ReadUnfinished, Log: log, Observer: notices.Observer(),
	})
	if err != nil {
		return err
	}
	go func() { _ = in.Run(ctx) }()
	fs, err := fusefs.New(ctx, fusefs.Config{
		Instance: in, Notices: notices, ConfigText: []byte("target: test\n"), Version: "v0", Passthrough: c.Passthrough,
		Metrics: func() ([]byte, error) { return []byte("sinkfs_up 1\n"), nil },
		Memory:  memory, Log: log, ControlMode: c.ControlMode, ControlGID: c.GID,
	})
	if err != nil {
		return err
	}
	live, err := connect(fs, c.TakeOver)
	if err != nil {
		return err
	}
	go func() {
		if err := fs.Run(ctx); err != nil { // passthrough is not to be had: no test may pass without it
			log.Error("nobody serves", slog.Any("error", err))
			_ = unix.Unmount(filepath.Join(c.Dir, "mnt"), unix.MNT_FORCE) // or calls would wait for another worker
			os.Exit(1)
		}
	}()
	_ = unix.Close(5)
	return live.Serve()
}

func connect(fs *fusefs.FS, takeOver bool) (*conn.Conn, error) {
	const fd = 3
	c := conn.New(fs, fs.MountOptions())
	request := syntheticInit()
	if takeOver {
		if err := fs.Adopt(); err != nil {
			return nil, err
		}
	} else {
		request = make([]byte, 2<<20)
		n, err := unix.Read(fd, request)
		if err != nil {
			return nil, err
		}
		request = request[:n]
	}
	answer, err := c.Negotiate(request)
	if err != nil {
		return nil, err
	}
	if !takeOver {
		if _, err := unix.Write(fd, answer); err != nil {
			return nil, err
		}
	}
	c.Attach(os.NewFile(fd, "/dev/fuse"))
	if !takeOver {
		return c, nil
	}
	for _, code := range []uint32{7, 8} { // RESEND, INC_EPOCH
		var n [16]byte
		binary.LittleEndian.PutUint32(n[0:], 16)
		binary.LittleEndian.PutUint32(n[4:], code)
		if _, err := unix.Write(fd, n[:]); err != nil {
			return nil, fmt.Errorf("notification %d: %w", code, err)
		}
	}
	return c, nil
}

// syntheticInit is the INIT that the kernel sent to the first worker, more or
// less.
func syntheticInit() []byte {
	b := make([]byte, 104)
	le := binary.LittleEndian
	le.PutUint32(b[0:], 104)
	le.PutUint32(b[4:], 26)
	le.PutUint64(b[8:], 1)
	le.PutUint32(b[40:], 7)
	le.PutUint32(b[44:], 45)
	le.PutUint32(b[48:], 131072)
	le.PutUint32(b[52:], 0xffffffff)
	le.PutUint32(b[56:], 0xffffffff)
	return b
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// controlName is the directory of control files, which resolves in every
// directory of a mount.
const controlName = ".sinkfs"

// control is the control directory of a running mount, found from any path
// inside it. It is all that a command needs to ask a mount: no port, no
// socket, no state directory.
type control struct {
	path string // as the user wrote it
	dir  string
}

func controlOf(path string) control {
	dir := path
	if st, err := os.Stat(path); err == nil && !st.IsDir() || errors.Is(err, fs.ErrNotExist) {
		dir = filepath.Dir(path)
	}
	return control{path: path, dir: filepath.Join(dir, controlName)}
}

// open opens one control file. What is not on a mount of ours is exit code 5.
func (c control) open(name string, flags int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(c.dir, name), flags, 0)
	if err != nil {
		return nil, c.explain(err)
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil || st.Type != unix.FUSE_SUPER_MAGIC {
		return nil, errors.Join(fail(codeMount, fmt.Errorf("%s is in no sinkfs mount", c.path)), f.Close())
	}
	return f, nil
}

// explain gives an error of a control file its words and its exit code.
func (c control) explain(err error) error {
	switch {
	case errors.Is(err, syscall.ENOTCONN), errors.Is(err, syscall.ECONNABORTED):
		return fail(codeMount, fmt.Errorf("the mount at %s is dead, its supervisor was killed: run 'sinkfs umount %s' and mount again", c.path, c.path))
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return fail(codeMount, fmt.Errorf("%s is in no sinkfs mount, name the mountpoint or a path inside it", c.path))
	case errors.Is(err, fs.ErrPermission):
		return fail(codeFailed, fmt.Errorf("%w: run it as the owner of the mount or as root, or set control.group", err))
	}
	return fail(codeFailed, err)
}

// read returns the snapshot in one control file.
func (c control) read(name string) (data []byte, err error) {
	f, err := c.open(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err = io.ReadAll(f)
	if err != nil {
		return nil, c.explain(err)
	}
	return data, nil
}

// readJSON reads one control file into v and returns its text too.
func (c control) readJSON(name string, v any) ([]byte, error) {
	data, err := c.read(name)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return nil, fail(codeFailed, fmt.Errorf("%s of the mount cannot be read: %w", name, err))
	}
	return data, nil
}

// ask writes one line, waits for what it does, and reads the answer on the
// same handle, where it is that of this line and of no other. A write that a
// signal of our own runtime interrupts is repeated on that handle by os.File,
// which joins what the first one began. asked is false when the line was
// never written; no answer is no error for who may write only.
func (c control) ask(name, line string) (answer []byte, asked bool, err error) {
	f, err := c.open(name, os.O_RDWR)
	if errors.Is(err, fs.ErrPermission) {
		f, err = c.open(name, os.O_WRONLY)
	}
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.WriteString(line + "\n")
	answer, readErr := io.ReadAll(io.NewSectionReader(f, 0, math.MaxInt64))
	if readErr != nil {
		answer = nil
	}
	return answer, true, err
}

// each calls fn at once and at each tick, until it is done or fails or ctx
// ends. It is how wait and --watch look again and again.
func each(ctx context.Context, ticks <-chan time.Time, fn func() (done bool, err error)) error {
	for {
		if done, err := fn(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticks:
		}
	}
}

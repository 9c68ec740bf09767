package mount

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// helper is what mounts for people who are not root: it is setuid.
func helper() (string, error) {
	for _, name := range []string{"fusermount3", "/bin/fusermount3", "fusermount", "/bin/fusermount"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: mounting without root needs fusermount3, install the package fuse3", ErrMountpoint)
}

// attachByHelper lets fusermount3 mount; it sends the descriptor of /dev/fuse
// over a socket that _FUSE_COMMFD names.
func attachByHelper(path string, o *Options) (*connection, error) {
	program, err := helper()
	if err != nil {
		return nil, err
	}
	ours, theirs, err := newLink()
	if err != nil {
		return nil, err
	}
	options := append(o.helperOptions(), "fsname="+escapeOption(o.Source), "subtype=sinkfs")
	var stderr bytes.Buffer
	cmd := exec.Command(program, "-o", strings.Join(options, ","), "--", path) //nolint:noctx // it answers at once; a context could only leave half a mount
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = &stderr
	err = cmd.Run()
	err = errors.Join(err, theirs.Close())
	if err != nil {
		err = fmt.Errorf("%w: %s at %s: %w: %s", ErrMountpoint, program, path, err, strings.TrimSpace(stderr.String()))
		return nil, errors.Join(err, ours.close())
	}
	dev, err := ours.receiveDevice()
	if err := errors.Join(err, ours.close()); err != nil {
		return nil, fmt.Errorf("%w: %s at %s: %w", ErrMountpoint, program, path, err)
	}
	return &connection{dev: dev, path: path}, nil
}

// receiveDevice reads what fusermount3 sends: one byte and the descriptor.
func (l *link) receiveDevice() (*os.File, error) {
	data, rights := make([]byte, 16), make([]byte, unix.CmsgSpace(4*4))
	_, oobn, _, _, err := l.conn.ReadMsgUnix(data, rights)
	if err != nil {
		return nil, err
	}
	dev, err := receivedFile(rights[:oobn])
	if err == nil && dev == nil {
		err = errors.New("it sent no descriptor")
	}
	return dev, err
}

func detachByHelper(path string) error {
	program, err := helper()
	if err != nil {
		return err
	}
	out, err := exec.Command(program, "-u", "-z", "--", path).CombinedOutput() //nolint:noctx // as above
	if err != nil {
		return fmt.Errorf("unmount of %s: %w: %s", path, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// escapeOption keeps commas and backslashes of a value from ending it.
func escapeOption(s string) string {
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(s)
}

package local

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/backend"
)

const (
	objectAttr   = "user.sinkfs.object"
	identityAttr = "user.sinkfs.target"
	maxAttr      = 4096
)

// objectInfo is the one xattr of a finished file. It keeps the writer's owner
// and mode too: a mount that is not root cannot chown.
type objectInfo struct {
	Meta     backend.Meta `json:"meta,omitempty"`
	Checksum string       `json:"sum"`
	Mode     uint32       `json:"mode"`
	UID      uint32       `json:"uid"`
	GID      uint32       `json:"gid"`
}

func (o objectInfo) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // six bytes for '<' could cost the attribute its place in the inode
	if err := e.Encode(o); err != nil {
		return nil, fmt.Errorf("encode the object's attribute: %w", err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// readObjectInfo returns false for a foreign file: one without our attribute,
// with one that nobody lets us read, or with nonsense in it. Not knowing is
// not foreign: the caller would publish a second time.
func readObjectInfo(f *os.File) (objectInfo, bool, error) {
	buf := make([]byte, maxAttr)
	n, err := unix.Getxattr(procPath(f), objectAttr, buf)
	switch {
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ERANGE),
		errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return objectInfo{}, false, nil
	case err != nil:
		return objectInfo{}, false, err
	}
	var o objectInfo
	if json.Unmarshal(buf[:n], &o) != nil {
		return objectInfo{}, false, nil //nolint:nilerr // an attribute that is not ours
	}
	return o, true, nil
}

func readIdentity(dir *os.File) (string, error) {
	buf := make([]byte, 64)
	n, err := unix.Fgetxattr(int(dir.Fd()), identityAttr, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// identify reads the identity of the target and makes one the first time.
// Two mounts that arrive together agree on the one that was first.
func identify(dir *os.File) (string, error) {
	id, err := readIdentity(dir)
	if !errors.Is(err, unix.ENODATA) {
		return id, err
	}
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", err
	}
	fresh := hex.EncodeToString(random[:])
	err = unix.Fsetxattr(int(dir.Fd()), identityAttr, []byte(fresh), unix.XATTR_CREATE)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return "", err
	}
	if err := dir.Sync(); err != nil {
		return "", err
	}
	return readIdentity(dir)
}

package fusefs

import (
	"errors"
	"strconv"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/lifecycle"
)

const (
	ownXattr = "user.sinkfs."
	aclXattr = "system.posix_acl_"
)

// GetXAttr tells how far a file is. None is listed: a copy must not carry
// them.
func (f *FS) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, attr string, dest []byte) (uint32, fuse.Status) {
	name, own := strings.CutPrefix(attr, ownXattr)
	if !own {
		if strings.HasPrefix(attr, aclXattr) {
			return 0, fuse.Status(syscall.EOPNOTSUPP)
		}
		return 0, fuse.ENODATA
	}
	st, err := f.fileStatus(h)
	if err != nil {
		return 0, f.status(err)
	}
	value, ok := xattrOf(st, name)
	if !ok {
		return 0, fuse.ENODATA
	}
	if len(dest) < len(value) {
		return uint32(len(value)), fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}

// fileStatus is the state of an unfinished or finished file; ENODATA for all
// that is no file.
func (f *FS) fileStatus(h *fuse.InHeader) (lifecycle.FileStatus, error) {
	switch spaceOf(h.NodeId) {
	case spaceSpool:
		ino, err := f.spoolIno(h.NodeId)
		if err != nil {
			return lifecycle.FileStatus{}, err
		}
		st, err := f.in.File(ino)
		if errors.Is(err, syscall.EISDIR) {
			err = syscall.ENODATA
		}
		return st, err
	case spaceStore:
		info, err := f.storeInfo(h.NodeId)
		if err != nil {
			return lifecycle.FileStatus{}, err
		}
		if info.Dir {
			return lifecycle.FileStatus{}, syscall.ENODATA
		}
		return f.finishedStatus(info), nil
	case spaceSinkfs, spaceControl:
	}
	return lifecycle.FileStatus{}, syscall.ENODATA
}

func (f *FS) finishedStatus(info backend.Info) lifecycle.FileStatus {
	st := lifecycle.FileStatus{State: "finished", Bytes: info.Size, Published: info.Size, URL: f.in.URL(string(info.Key)), Checksum: info.Checksum}
	if p, ok := f.in.FinishedPart(string(info.Key)); ok {
		st.Checkpoint = p.Checkpoint
		if st.Checksum == "" {
			st.Checksum = p.Checksum
		}
	}
	return st
}

// xattrOf is the text of one attribute; what is not known is empty.
func xattrOf(st lifecycle.FileStatus, name string) (value string, ok bool) {
	switch name {
	case "state":
		return st.State, true
	case "bytes":
		return strconv.FormatInt(st.Bytes, 10), true
	case "published":
		return strconv.FormatInt(st.Published, 10), true
	case "checkpoint":
		return strconv.FormatUint(st.Checkpoint, 10), true
	case "url":
		return st.URL, true
	case "checksum":
		return st.Checksum, true
	case "error":
		return st.Error, true
	}
	return "", false
}

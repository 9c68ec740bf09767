package local

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/backend"
)

// Stat never follows a link and never opens what is not a regular file. What
// it reports of our own files is durable: a caller takes it for the proof of
// a commit whose answer was lost.
func (s *Store) Stat(ctx context.Context, k backend.Key) (backend.Info, error) {
	if err := ctx.Err(); err != nil {
		return backend.Info{}, err
	}
	if k != "" {
		if err := checkKey(k); err != nil {
			return backend.Info{}, err
		}
	}
	info, err := s.stat(k)
	if err != nil {
		return backend.Info{}, classify(reading, "stat", k, err)
	}
	return info, nil
}

func (s *Store) stat(k backend.Key) (backend.Info, error) {
	root, err := s.root()
	if err != nil {
		return backend.Info{}, err
	}
	defer root.Close()
	f, st, err := find(root, k)
	if err != nil {
		return backend.Info{}, err
	}
	defer f.Close()
	info := infoOf(k, &st)
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return info, nil
	}
	attr, owned, err := readObjectInfo(f)
	if err != nil || !owned {
		return info, err
	}
	info.Owned, info.Meta, info.Checksum = true, attr.Meta, attr.Checksum
	info.Mode, info.UID, info.GID = attr.Mode, attr.UID, attr.GID
	return info, s.ensureDurable(root, k)
}

// ensureDurable syncs the name at k unless this process did.
func (s *Store) ensureDurable(root *os.File, k backend.Key) error {
	parent, _ := k.Split()
	dir, err := openDir(root, parent)
	if err != nil {
		return err
	}
	defer dir.Close()
	clean, err := s.dirs.clean(dir)
	if err != nil || clean {
		return err
	}
	return s.settle(root, dir, parent)
}

// infoOf shows links, fifos, sockets and devices as foreign files that nobody
// may read: they take a name, so they must not look absent.
func infoOf(k backend.Key, st *unix.Stat_t) backend.Info {
	info := backend.Info{
		Key: k, Size: st.Size, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid,
		ModTime: time.Unix(st.Mtim.Unix()).UTC(),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return info
	case unix.S_IFDIR:
		return backend.Info{Key: k, Dir: true}
	}
	info.Size, info.Mode = 0, 0
	return info
}

// OpenFile opens a finished file for reading, for callers that hand the
// descriptor to the kernel instead of copying bytes.
func (s *Store) OpenFile(ctx context.Context, k backend.Key) (*os.File, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkKey(k); err != nil {
		return nil, err
	}
	f, err := s.openFile(k)
	if err != nil {
		return nil, classify(reading, "open", k, err)
	}
	return f, nil
}

func (s *Store) openFile(k backend.Key) (*os.File, error) {
	root, err := s.root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	place, st, err := find(root, k)
	if err != nil {
		return nil, err
	}
	defer place.Close()
	if err := mustBeFile(&st); err != nil {
		return nil, err
	}
	return os.Open(procPath(place)) // the very file that was looked at
}

func mustBeFile(st *unix.Stat_t) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil
	case unix.S_IFDIR:
		return fmt.Errorf("it is a directory: %w", backend.ErrNotExist)
	}
	return fmt.Errorf("it is a link, fifo, socket or device: %w", backend.ErrPermission)
}

func mustBeDir(st *unix.Stat_t) error {
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("it is no directory: %w", backend.ErrNotExist)
	}
	return nil
}

// Open reads a range of a file; one that begins past the end is empty.
func (s *Store) Open(ctx context.Context, k backend.Key, off, n int64) (io.ReadCloser, error) {
	f, err := s.OpenFile(ctx, k)
	if err != nil {
		return nil, err
	}
	if n < 0 {
		n = math.MaxInt64 - off
	}
	return &reader{ctx: ctx, key: k, section: io.NewSectionReader(f, off, n), file: f}, nil
}

type reader struct {
	ctx     context.Context //nolint:containedctx // it ends the reads of one Open
	key     backend.Key
	section *io.SectionReader
	file    *os.File
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.section.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // io.Reader gives it bare
		err = classify(reading, "read", r.key, err)
	}
	return n, err
}

func (r *reader) Close() error { return r.file.Close() }

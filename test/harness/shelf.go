package harness

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Shelf is a target as a reader has it who knows nothing of the program under
// test: a directory, or a bucket through a client of its own.
type Shelf interface {
	// List is all there is below the target, by key. A target that was not
	// made yet is empty.
	List(ctx context.Context) (map[string]Label, error)
	// Read is the body of one object; fs.ErrNotExist where there is none.
	Read(ctx context.Context, key string) ([]byte, error)
	// Uploads is how many were begun and neither completed nor aborted.
	Uploads(ctx context.Context) (int, error)
	// Glimpses says whether a listing may show for a moment what is not there:
	// an object that the server takes back because its sender went away.
	Glimpses() bool
}

// Label is what a listing says of an object. It never changes for a finished
// one: another Version is another object, even of the same bytes.
type Label struct {
	Size    int64
	Version string
}

// Object is a finished file as it was first seen.
type Object struct {
	Label
	sum [sha256.Size]byte
}

// Dir is the shelf of a local target.
type Dir string

// List implements [Shelf].
func (d Dir) List(context.Context) (map[string]Label, error) {
	all := map[string]Label{}
	err := walk(string(d), func(key string, info fs.FileInfo) error {
		l := Label{Size: info.Size()}
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			l.Version = strconv.FormatUint(s.Ino, 10)
		}
		all[key] = l
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return all, err
}

// Read implements [Shelf].
func (d Dir) Read(_ context.Context, key string) ([]byte, error) {
	return os.ReadFile(filepath.Join(string(d), key))
}

// Uploads implements [Shelf]. A directory knows none.
func (d Dir) Uploads(context.Context) (int, error) { return 0, nil }

// Glimpses implements [Shelf].
func (d Dir) Glimpses() bool { return false }

// walk calls fn for each file below dir, with its path from there.
func walk(dir string, fn func(key string, info fs.FileInfo) error) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		key, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		return fn(key, info)
	})
}

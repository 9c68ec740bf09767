package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// Copies of what Badger changes when it opens, kept beside it:
//
//	aside/opening   of the open that has not succeeded yet
//	aside/00000007  of an open that did
const (
	asideName   = "aside"
	openingName = "opening"
	keepAside   = 2
)

func hasAside(dir string) bool {
	names, err := os.ReadDir(filepath.Join(dir, asideName))
	return err == nil && len(names) > 0
}

// setAside copies the logs, the MANIFEST and the anchor, and links the tables
// (Badger deletes those that its MANIFEST does not name). The copy of an open
// that failed, or was killed, stays: it is older than the harm.
func setAside(dir string) error {
	opening := filepath.Join(dir, asideName, openingName)
	if _, err := os.Lstat(opening); err == nil {
		return nil
	}
	tmp := opening + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return err
	}
	db := filepath.Join(dir, dbName)
	files, err := os.ReadDir(db)
	if err != nil {
		return err
	}
	for _, f := range files {
		from, to := filepath.Join(db, f.Name()), filepath.Join(tmp, f.Name())
		switch {
		case filepath.Ext(f.Name()) == tableExt:
			err = os.Link(from, to)
		case filepath.Ext(f.Name()) == walExt, f.Name() == manifestName:
			err = copyFile(from, to)
		}
		if err != nil {
			return err
		}
	}
	if err := copyFile(filepath.Join(dir, anchorName), filepath.Join(tmp, anchorName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := syncPath(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, opening); err != nil {
		return err
	}
	return syncPath(filepath.Dir(opening))
}

// settleAside keeps the copy of a successful open among the last ones.
// Its tables are dropped: Badger cuts a table to nothing when it deletes it,
// so from here on the links would be worth nothing.
func settleAside(dir string) error {
	aside := filepath.Join(dir, asideName)
	opening := filepath.Join(aside, openingName)
	tables, err := filepath.Glob(filepath.Join(opening, "*"+tableExt))
	if err != nil {
		return err
	}
	for _, t := range tables {
		if err := os.Remove(t); err != nil {
			return err
		}
	}
	numbers, err := asideNumbers(aside)
	if err != nil {
		return err
	}
	last := 0
	if len(numbers) > 0 {
		last = numbers[len(numbers)-1]
	}
	err = os.Rename(opening, filepath.Join(aside, fmt.Sprintf("%08d", last+1)))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range numbers[:max(0, len(numbers)+1-keepAside)] {
		if err := os.RemoveAll(filepath.Join(aside, fmt.Sprintf("%08d", n))); err != nil {
			return err
		}
	}
	return syncPath(aside)
}

func asideNumbers(aside string) ([]int, error) {
	entries, err := os.ReadDir(aside)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var numbers []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// copyFile copies from to a new file, keeping its holes, and makes both
// durable.
func copyFile(from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if err := src.Sync(); err != nil {
		return err
	}
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	fi, err := src.Stat()
	if err != nil {
		return err
	}
	if err := dst.Truncate(fi.Size()); err != nil {
		return err
	}
	err = dataRuns(src, func(from, to int64) error {
		_, err := io.Copy(io.NewOffsetWriter(dst, from), io.NewSectionReader(src, from, to-from))
		return err
	})
	if err != nil {
		return err
	}
	return dst.Sync()
}

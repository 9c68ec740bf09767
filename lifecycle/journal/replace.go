package journal

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const restoreName = "restore.tmp"

// Restore replaces the journal in dir by a backup, once the whole backup was
// read and its checksum holds. The journal that was there is kept in
// dir/replaced-<time>. Cut short by a crash it leaves the old journal, the new
// one, or one that Open refuses until Restore runs again.
func Restore(dir string, r io.Reader) error {
	_, err := replace(dir, func(j *Journal) error { return readBackup(r, j.Write) })
	return err
}

// Replace is Restore from records at hand. It returns where the journal that
// was there is kept, "" when there was none.
func Replace(dir string, records []Record) (kept string, err error) {
	return replace(dir, func(j *Journal) error { return j.Write(records...) })
}

func replace(dir string, fill func(*Journal) error) (kept string, err error) {
	if err := makeDir(dir); err != nil {
		return "", fmt.Errorf("journal: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	tmp := filepath.Join(dir, restoreName)
	if err := os.RemoveAll(tmp); err != nil {
		return "", fmt.Errorf("journal: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if err := build(tmp, fill); err != nil {
		return "", err
	}
	old, err := replacedDir(dir)
	if err != nil {
		return "", err
	}
	// The anchor goes last: until then database and anchor do not match.
	if err := inOrder(
		func() error { return copyIfThere(filepath.Join(dir, anchorName), filepath.Join(old, anchorName)) },
		func() error { return moveNames(dir, old, dbName, asideName, openedName) },
		func() error { return moveNames(tmp, dir, dbName) },
		func() error { return moveNames(tmp, dir, anchorName) },
	); err != nil {
		return "", err
	}
	return dropEmpty(old)
}

// dropEmpty removes old when there was nothing to put away; "" then.
func dropEmpty(old string) (string, error) {
	err := os.Remove(old)
	switch {
	case err == nil:
		return "", nil
	case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
		return old, nil
	}
	return "", fmt.Errorf("journal: %w", err)
}

func inOrder(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("journal: %w", err)
		}
	}
	return nil
}

// replacedDir makes the directory for what is put away.
func replacedDir(dir string) (string, error) {
	old := filepath.Join(dir, "replaced-"+time.Now().UTC().Format("20060102T150405.000000000Z"))
	if err := os.Mkdir(old, 0o700); err != nil {
		return "", fmt.Errorf("journal: %w", err)
	}
	return old, nil
}

// moveNames moves those of names that are there, for good.
func moveNames(from, to string, names ...string) error {
	for _, name := range names {
		err := os.Rename(filepath.Join(from, name), filepath.Join(to, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return errors.Join(syncPath(to), syncPath(from))
}

func copyIfThere(from, to string) error {
	if err := copyFile(from, to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// build makes a journal in tmp, with what fill writes.
func build(tmp string, fill func(*Journal) error) error {
	j, err := Open(Options{Dir: tmp, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if err = fill(j); err == nil {
		err = j.Mark()
	}
	return errors.Join(err, j.Close())
}

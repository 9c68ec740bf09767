package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
)

// checkTables reads the MANIFEST and the footer of each table that it names.
// Badger ends the process when a table is cut short; the blocks it checks
// itself.
func checkTables(db string) error {
	names, err := listedTables(db)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := checkFooter(filepath.Join(db, name)); err != nil {
			return damaged("the table %s: %w", filepath.Join(db, name), err)
		}
	}
	return nil
}

// listedTables are those that Badger will open; it deletes all others.
func listedTables(db string) (names []string, err error) {
	path := filepath.Join(db, manifestName)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	m, _, err := badger.ReplayManifestFile(f, 0, badger.DefaultOptions(db))
	if err != nil {
		return nil, damaged("the file %s: %w", path, err)
	}
	for id := range m.Tables {
		names = append(names, fmt.Sprintf("%06d%s", id, tableExt))
	}
	return names, nil
}

// A table ends with: index, its length (4), checksum of the index as a
// protobuf message, its length (4).
const maxFooterSum = 32

var errCut = errors.New("it is cut short or altered at its end")

func checkFooter(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	end := fi.Size()
	before := func(n int64) ([]byte, error) {
		if end -= n; end < 0 {
			return nil, errCut
		}
		b := make([]byte, n)
		_, err := io.ReadFull(io.NewSectionReader(f, end, n), b)
		return b, err
	}
	b, err := before(4)
	if err != nil {
		return err
	}
	n := int64(binary.BigEndian.Uint32(b))
	if n > maxFooterSum {
		return errCut
	}
	message, err := before(n)
	if err != nil {
		return err
	}
	if b, err = before(4); err != nil {
		return err
	}
	index, err := before(int64(binary.BigEndian.Uint32(b)))
	if err != nil {
		return err
	}
	want, ok := footerSum(message)
	if !ok || want != uint64(crc32.Checksum(index, crc32.MakeTable(crc32.Castagnoli))) {
		return errCut
	}
	return nil
}

// footerSum reads field 2, the sum, of a message whose field 1, the kind of
// checksum, is left out because it is CRC-32C.
func footerSum(message []byte) (uint64, bool) {
	if len(message) == 0 || message[0] != 2<<3 {
		return 0, false
	}
	sum, n := binary.Uvarint(message[1:])
	return sum, n == len(message)-1
}

// dropEmptyLogs removes logs that were made but not yet sized when the power
// went: nothing was ever in them, and Badger cannot open them.
func dropEmptyLogs(db string) error {
	files, err := os.ReadDir(db)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	for _, f := range files {
		ext := filepath.Ext(f.Name())
		if fi, err := f.Info(); ext != walExt && ext != vlogExt || err != nil || fi.Size() > 0 {
			continue
		}
		if err := os.Remove(filepath.Join(db, f.Name())); err != nil {
			return fmt.Errorf("journal: %w", err)
		}
	}
	return nil
}

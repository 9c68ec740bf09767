package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

const (
	dbName       = "db"
	manifestName = "MANIFEST"
	tableExt     = ".sst"
	walExt       = ".mem"
	vlogExt      = ".vlog"

	// memTable bounds what Badger keeps in memory, twice: its copy in the heap
	// and the mapped write-ahead log. A transaction takes at most 15 % of it.
	memTable = 2 << 20
)

// storeOptions are Badger's, for a small journal that must not lose a thing.
func storeOptions(dir string, log *slog.Logger) badger.Options {
	o := badger.DefaultOptions(dir)
	o.Logger = storeLog{log}
	o.SyncWrites = true                              // the default loses acknowledged commits at a power cut
	o.ChecksumVerificationMode = options.OnTableRead // verifies all at open; the other modes panic later
	o.VerifyValueChecksum = true
	o.Compression = options.None              // large records come compressed; heads are found in the raw files
	o.BlockCacheSize, o.IndexCacheSize = 0, 0 // nothing to decompress, so nothing to cache
	o.MemTableSize = memTable
	o.NumMemtables = 2
	o.NumLevelZeroTables, o.NumLevelZeroTablesStall = 2, 4
	o.BaseTableSize, o.BaseLevelSize = 2<<20, 4<<20
	o.ValueThreshold = 256 << 10 // above every value of ours: the value log stays empty,
	o.ValueLogFileSize = 1 << 20 // because Badger only logs it when syncing that fails
	o.NumVersionsToKeep = 1
	o.NumCompactors = 2        // the least that Badger takes
	o.CompactL0OnClose = false // closing after a failed check must not rewrite the evidence
	o.DetectConflicts = false  // one writer
	o.MetricsEnabled = false
	return o
}

// openStore opens Badger; a panic of its is an error here.
func openStore(dir string, log *slog.Logger) (db *badger.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = damaged("Badger gave up on %s: %v", dir, p)
		}
	}()
	if err := dropEmptyLogs(dir); err != nil {
		return nil, err
	}
	db, err = badger.Open(storeOptions(dir, log))
	switch {
	case err == nil:
		return db, nil
	case strings.Contains(err.Error(), "Cannot acquire directory lock"):
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	default:
		return nil, damaged("Badger cannot open %s: %w", filepath.Clean(dir), err)
	}
}

// storeLog takes what Badger logs from Warn up: what it cuts off at recovery
// is said nowhere else.
type storeLog struct{ log *slog.Logger }

func (l storeLog) Errorf(format string, args ...any) {
	l.log.Error("journal store", detail(format, args))
}

func (l storeLog) Warningf(format string, args ...any) {
	l.log.Warn("journal store", detail(format, args))
}

func (l storeLog) Infof(string, ...any)  {}
func (l storeLog) Debugf(string, ...any) {}

func detail(format string, args []any) slog.Attr {
	return slog.String("detail", strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// get calls fn with the value of key; fn is not called when there is none.
func get(txn *badger.Txn, key []byte, fn func(value []byte) error) error {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return item.Value(fn)
}

// scan calls fn with every key that starts with prefix, in order. Neither
// key nor value may be kept.
func scan(txn *badger.Txn, prefix []byte, fn func(key, value []byte) error) error {
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues = prefix, false // no value log: values are at hand
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Seek(prefix); it.ValidForPrefix(prefix); it.Next() {
		item := it.Item()
		if err := item.Value(func(v []byte) error { return fn(item.Key(), v) }); err != nil {
			return err
		}
	}
	return nil
}

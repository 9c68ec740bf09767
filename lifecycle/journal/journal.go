package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// Options configure Open.
type Options struct {
	Dir     string       // owned by the journal, made when missing
	Log     *slog.Logger // nil: slog.Default
	MinFree int64        // bytes that a write leaves free on the disk; 0: a safe default
	Entries int          // of a transaction, at most; 0: what Badger takes. Tests cut calls in pieces with it.
}

// Badger is killed by SIGBUS when the disk is full: it fills sparse mapped
// files. openFree is what it may fill in one go (a log and its table, twice),
// closeFree what closing does; the reserve is for the other writers on the
// disk, who do not ask.
const (
	openFree       = 4 * memTable
	closeFree      = 2 * memTable
	defaultReserve = 16 << 20
)

// openedName is a file that is there while Badger has the database open: a
// write-ahead log must be there too, then. Removing it takes no space.
const openedName = "open"

// Journal is an open journal. Its methods may be called concurrently, but for
// Close.
type Journal struct {
	dir      string
	db       *badger.DB
	lock     *os.File
	codec    codec
	writer   *writer
	requests chan *request
	stopped  chan struct{} // the writer is gone

	mu     sync.RWMutex // held shared while a request is handed over
	closed bool
}

// Open opens the journal in o.Dir, making it when it is brand new. It proves
// first that nothing acknowledged before the anchor is missing; see the
// package comment for what else is noticed. Its errors are ErrLocked,
// ErrDamaged, ErrBehind, ErrVersion and ErrFull.
func Open(o Options) (*Journal, error) {
	o = o.withDefaults()
	if err := makeDir(o.Dir); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	j := &Journal{
		dir: o.Dir, lock: lock, codec: newCodec(),
		requests: make(chan *request, maxGroup), stopped: make(chan struct{}),
	}
	if err := j.open(o); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	go func() {
		defer close(j.stopped)
		j.writer.run(j.requests)
	}()
	return j, nil
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.MinFree == 0 {
		o.MinFree = openFree + defaultReserve
	}
	if o.Entries == 0 {
		o.Entries = maxTxnEntries
	}
	return o
}

func (j *Journal) open(o Options) error {
	s, err := takeSurvey(o.Dir)
	if err != nil {
		return err
	}
	if err := checkFree(o.Dir, min(o.MinFree, openFree)); err != nil {
		return err
	}
	if !s.brandNew() {
		if err := setAside(o.Dir); err != nil {
			return fmt.Errorf("journal: copy what opening changes to %s: %w", filepath.Join(o.Dir, asideName), err)
		}
	}
	db := filepath.Join(o.Dir, dbName)
	if j.db, err = openStore(db, o.Log); err != nil {
		return err
	}
	st, err := examine(j.db, s)
	if err != nil {
		return errors.Join(err, s.remember(o.Dir, err), j.closeStore())
	}
	j.writer = &writer{
		dir: o.Dir, db: j.db, entries: o.Entries, ended: make(chan struct{}), head: st.head, anchored: st.head.seq, pruned: st.pruned, nextSet: st.head.nextSet,
		room: func() error { return checkFree(o.Dir, o.MinFree+j.tableBytes()) },
	}
	if err := j.settle(db, st); err != nil {
		return errors.Join(err, j.closeStore())
	}
	return nil
}

// tableBytes is what merging all tables may take before the old ones go.
func (j *Journal) tableBytes() int64 {
	var n int64
	for _, l := range j.db.Levels() {
		n += l.Size
	}
	return n
}

// settle makes what was found the new footing: nothing before it is needed.
func (j *Journal) settle(db string, st state) error {
	log, err := newestLog(db)
	if err == nil {
		err = errors.Join(syncPath(log.path(db)), syncPath(db), syncPath(j.dir))
	}
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := anchorAt(st.head, log).write(j.dir); err != nil {
		return err
	}
	j.writer.log = log
	if err := replaceFile(filepath.Join(j.dir, openedName), nil); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := settleAside(j.dir); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if len(st.orphans) == 0 {
		return nil
	}
	sweep := &request{done: make(chan error, 1)}
	for _, key := range st.orphans {
		sweep.ops = append(sweep.ops, op{key: key})
	}
	if err := j.writer.write([]*request{sweep}); err != nil && !errors.Is(err, ErrFull) {
		return err
	}
	return nil
}

// remember moves the anchor to the newest head that the raw files held, when
// Badger opened without it: Badger has cut the evidence off by now, and the
// next Open must fail too.
func (s survey) remember(dir string, err error) error {
	h := s.newest()
	if !errors.Is(err, ErrBehind) || s.anchor == nil || h.seq <= s.anchor.Seq {
		return nil
	}
	return anchorAt(h, s.anchor.Log).write(dir)
}

// closeStore closes Badger, which makes a table of its write-ahead log. Where
// the disk has no room for that, Badger is left as a kill would leave it: the
// next Open reads the log, and nothing is lost.
func (j *Journal) closeStore() error {
	if err := checkFree(j.dir, closeFree); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(j.dir, openedName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return errors.Join(syncPath(j.dir), j.db.Close())
}

// makeDir makes dir, durably, when it is missing.
func makeDir(dir string) error {
	err := os.MkdirAll(filepath.Dir(dir), 0o700)
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%w: %w: free some space", ErrFull, err)
	case err != nil:
		return err
	}
	return syncPath(filepath.Dir(dir))
}

// lockDir takes the directory for this process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		err = fmt.Errorf("%w: another process has %s open: stop it first, or ask it", ErrLocked, dir)
	default:
		err = fmt.Errorf("journal: lock %s: %w", dir, err)
	}
	return nil, errors.Join(err, f.Close())
}

// checkFree is nil while the disk of dir has at least want bytes free. Root's
// reserve counts for root: the journal is what it is kept for.
func checkFree(dir string, want int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("journal: statfs %s: %w", dir, err)
	}
	blocks := st.Bavail
	if os.Geteuid() == 0 {
		blocks = st.Bfree
	}
	free := int64(blocks) * st.Bsize
	if free >= want {
		return nil
	}
	return fmt.Errorf("%w: %d bytes are free for %s, %d are needed: free some space: %w", ErrFull, free, dir, want, unix.ENOSPC)
}

// Write makes rs durable, in order, before it returns. Concurrent calls share
// a sync. A crash leaves all of rs or none when they fit into one transaction
// (some 1,500 records or 200 KiB), else a prefix of them: the last is in the
// last transaction. ErrFull can be tried again; after any other error the
// journal is broken and every later Write returns ErrBroken.
func (j *Journal) Write(rs ...Record) error { return j.write(rs, false) }

// Mark is Write, and then moves the anchor to this point: from here on a
// journal without rs is recognised as too old.
func (j *Journal) Mark(rs ...Record) error { return j.write(rs, true) }

func (j *Journal) write(rs []Record, mark bool) error {
	ops, err := j.codec.encode(rs)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	if err := j.submit(&request{ops: ops, mark: mark, done: done}); err != nil {
		return err
	}
	return <-done
}

func (j *Journal) submit(r *request) error {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.closed {
		return ErrClosed
	}
	j.requests <- r
	return nil
}

// Close waits for writes under way, moves the anchor to the end and releases
// the journal. Closing twice is harmless.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	close(j.requests)
	j.mu.Unlock()
	<-j.stopped

	var err error
	if w := j.writer; w.broken == nil {
		err = w.moveAnchor()
	}
	if err := errors.Join(err, j.closeStore(), j.lock.Close()); err != nil {
		return fmt.Errorf("journal: close: %w", err)
	}
	return nil
}

// Broken is closed with the first write that leaves open what is durable:
// every later one fails, so it is time to open the journal again.
func (j *Journal) Broken() <-chan struct{} { return j.writer.ended }

// Size is the number of bytes that the journal and its copies take on disk.
func (j *Journal) Size() int64 { return diskSize(j.dir) }

func diskSize(dir string) int64 {
	var total int64
	// files come and go while we look: what cannot be seen takes no space
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // see above
		}
		fi, err := d.Info()
		if err != nil {
			return nil //nolint:nilerr // see above
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			total += st.Blocks * 512
		}
		return nil
	})
	return total
}

package journal

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/internal/fault"
)

const (
	// A transaction of ours stays well below what Badger takes (314,572 bytes
	// and 3,276 entries with our memtable), because the removal of old pieces
	// and old links comes on top.
	maxTxnBytes   = 200 << 10
	maxTxnEntries = 1500

	maxGroup    = 1024 // requests that share one turn of the writer
	anchorEvery = 1024 // transactions without a mark
	pruneLinks  = 64   // old links that a transaction removes at most
)

// request is one call of Write or Mark.
type request struct {
	ops  []op
	mark bool
	done chan error // buffered: the writer never waits for a caller
}

// answer tells the caller. That done is nil from then on keeps the writer from
// answering twice.
func (r *request) answer(err error) {
	r.done <- err
	r.done = nil
}

// writer is the state of the only goroutine that writes.
type writer struct {
	dir      string
	db       *badger.DB
	entries  int          // of a transaction, at most
	room     func() error // an error when the disk is too full to go on
	head     head
	anchored uint64        // transaction of the anchor
	log      walID         // that the anchor names
	pruned   uint64        // links below are gone
	nextSet  uint64        // of pieces; not in head, which goes back when a transaction fails
	broken   error         // first failure of a commit
	ended    chan struct{} // closed with it
}

// run serves requests until the channel closes.
func (w *writer) run(requests <-chan *request) {
	for r := range requests {
		w.serve(gather(r, requests))
	}
}

// gather takes what waits already, so that many callers share one sync.
func gather(first *request, more <-chan *request) []*request {
	group := []*request{first}
	for len(group) < maxGroup {
		select {
		case r, ok := <-more:
			if !ok {
				return group
			}
			group = append(group, r)
		default:
			return group
		}
	}
	return group
}

// serve writes a group in order and answers each of its requests.
func (w *writer) serve(group []*request) {
	err := w.write(group)
	for _, r := range group {
		if r.done != nil {
			r.answer(err)
		}
	}
}

func (w *writer) write(group []*request) error {
	if w.broken != nil {
		return broken(w.broken)
	}
	b := w.begin()
	defer func() { b.txn.Discard() }()
	flush := func() error {
		if err := w.commit(b); err != nil {
			return err
		}
		b = w.begin()
		return nil
	}
	for _, r := range group {
		steps := w.plan(r.ops)
		if !b.fits(steps) { // keep the records of a call together where one transaction can
			if err := flush(); err != nil {
				return err
			}
		}
		for _, s := range steps {
			if !b.fits([]step{s}) {
				if err := flush(); err != nil {
					return err
				}
			}
			if err := b.apply(s); err != nil {
				return w.fail(err)
			}
		}
		b.waiting = append(b.waiting, r)
	}
	return w.commit(b)
}

// fail breaks the journal for good: what Badger did is unknown.
func (w *writer) fail(err error) error {
	w.broken = err
	close(w.ended)
	return broken(err)
}

// commit makes b durable, then answers those who wait for it.
func (w *writer) commit(b *batch) error {
	if b.entries > 0 {
		if err := fault.Hit(fault.JournalRoom); err != nil {
			return fmt.Errorf("%w: %w: %w", ErrFull, unix.ENOSPC, err)
		}
		if err := w.room(); err != nil {
			return err // nothing touched: not sticky
		}
		if err := w.commitBatch(b); err != nil {
			return w.fail(err)
		}
	}
	mark := w.anchorDue() // a log that the anchor does not name could go unnoticed
	early := !mark
	for _, r := range b.waiting {
		if mark = mark || r.mark; early && !r.mark {
			r.answer(nil)
		}
	}
	if mark {
		if err := w.moveAnchor(); err != nil {
			return w.fail(err)
		}
	}
	for _, r := range b.waiting {
		if r.done != nil {
			r.answer(nil)
		}
	}
	return nil
}

func (w *writer) commitBatch(b *batch) error {
	b.head.nextSet = w.nextSet
	if err := b.seal(w.pruned, w.anchored); err != nil {
		return fmt.Errorf("build transaction %d: %w", b.head.seq, err)
	}
	if err := fault.Hit(fault.JournalWrite); err != nil {
		return err
	}
	if err := b.txn.Commit(); err != nil {
		return fmt.Errorf("commit transaction %d: %w", b.head.seq, err)
	}
	w.head, w.pruned = b.head, b.pruned
	return fault.Hit(fault.JournalCommit)
}

// anchorDue says that the anchor must move without a mark: it names nothing
// yet, or is far behind, or Badger has begun a new log since.
func (w *writer) anchorDue() bool {
	behind := w.head.seq - w.anchored
	if behind == 0 || w.anchored == 0 || behind >= anchorEvery {
		return behind > 0
	}
	_, err := os.Lstat(walID{Number: w.log.Number + 1}.path(filepath.Join(w.dir, dbName)))
	return err == nil
}

func (w *writer) moveAnchor() error {
	if w.anchored == w.head.seq {
		return nil // it stands here already
	}
	log, err := newestLog(filepath.Join(w.dir, dbName))
	if err != nil {
		return fmt.Errorf("journal: move the anchor: %w", err)
	}
	if err := fault.Hit(fault.PrepareMark); err != nil {
		return err
	}
	if err := anchorAt(w.head, log).write(w.dir); err != nil {
		return err
	}
	w.anchored, w.log = w.head.seq, log
	return nil
}

func (w *writer) begin() *batch {
	b := &batch{txn: w.db.NewTransaction(true), limit: w.entries, head: w.head, digest: sha256.New()}
	b.head.version = formatVersion
	b.head.seq++
	return b
}

// plan spells out the entries of ops: pieces come before the record that
// names them, so that a crash between leaves pieces nobody names, never a
// record without its pieces.
func (w *writer) plan(ops []op) []step {
	steps := make([]step, 0, len(ops))
	for _, o := range ops {
		if len(o.body) <= pieceSize {
			steps = append(steps, step(o))
			continue
		}
		list := pieceList{set: w.nextSet, length: uint64(len(o.body))}
		w.nextSet++
		for rest := o.body; len(rest) > 0; list.pieces++ {
			n := min(len(rest), pieceSize)
			steps = append(steps, step{key: pieceKey(list.set, list.pieces), body: rest[:n]})
			rest = rest[n:]
		}
		steps = append(steps, step{key: o.key, body: list.encode(), flags: o.flags | flagSplit})
	}
	return steps
}

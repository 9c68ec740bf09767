package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/format"
	"github.com/sinkfs/sinkfs/internal/fault"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// The metadata of every object of ours: what fsck explains it by.
const (
	MetaInstance = "sinkfs-instance" // uid
	MetaPart     = "sinkfs-part"     // id, decimal
	MetaN        = "sinkfs-n"        // number in the name, decimal
	MetaSink     = "sinkfs-sink"
	MetaAttempt  = "sinkfs-attempt"
	MetaRecords  = "sinkfs-records"
	MetaRanges   = "sinkfs-ranges" // ino.gen:offset+length, … when they fit
)

// errChanged: bytes that were checked once read differently now.
var errChanged = errors.New("the bytes in the spool changed after they were first read: a program wrote through a mapping or with AIO")

// body reads the ranges of a part as one stream, with the number of records
// and, unless whoever reads it takes that, the checksum of all of it once it
// was read to its end.
type body struct {
	p       *part
	next    int
	open    *source  // whose file is open
	file    *os.File // nil before the first range
	in      io.Reader
	staged  bool // the store takes the checksum
	sum     uint32
	counter format.Counter
	alive   func() // called as bytes pass
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newBody(p *part, alive func()) *body {
	return &body{p: p, counter: p.sink.Format.Records.Counter(), alive: alive}
}

// Read implements io.Reader.
func (b *body) Read(buf []byte) (int, error) {
	for {
		if b.in == nil {
			if b.next == len(b.p.Ranges) {
				return 0, io.EOF
			}
			if err := b.advance(); err != nil {
				return 0, err
			}
		}
		n, err := b.in.Read(buf)
		if !b.staged {
			b.sum = crc32.Update(b.sum, castagnoli, buf[:n])
		}
		_, _ = b.counter.Write(buf[:n]) // never fails
		b.alive()
		if errors.Is(err, io.EOF) {
			b.in = nil
			b.counter.Close()
			err = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// advance opens the next range; ranges of one source share a descriptor, and
// what was seen already needs none.
func (b *body) advance() error {
	s, r := b.p.sources[b.next], b.p.Ranges[b.next]
	if b.next < len(b.p.seen) {
		if data, ok := b.p.seen[b.next].of(r.Range); ok {
			b.in = bytes.NewReader(data)
			b.next++
			return nil
		}
	}
	if b.open != s {
		if err := b.Close(); err != nil {
			return err
		}
		f, err := s.node.Open(os.O_RDONLY)
		if err != nil {
			return err
		}
		b.open, b.file = s, f
	}
	b.in = io.NewSectionReader(b.file, r.Off, r.Len)
	b.next++
	return nil
}

// Close implements io.Closer.
func (b *body) Close() error {
	if b.file == nil {
		return nil
	}
	err := b.file.Close()
	b.file, b.open = nil, nil
	return err
}

func (b *body) checksum() string { return fmt.Sprintf("crc32c:%08x", b.sum) }

// object is the part as the store gets it.
func (in *Instance) object(p *part, alive func(), open func() (io.ReadCloser, error)) backend.Object {
	return backend.Object{
		Key: backend.Key(p.Key), Size: p.Bytes, Open: open, Checksum: p.Checksum, Alive: alive, Meta: in.meta(p),
		Mode: p.Mode, UID: p.UID, GID: p.GID, ModTime: p.ModTime,
	}
}

func (in *Instance) meta(p *part) backend.Meta {
	m := backend.Meta{
		MetaInstance: in.uid, MetaPart: fmt.Sprint(p.ID), MetaN: fmt.Sprint(p.N), MetaSink: p.Sink,
		MetaAttempt: fmt.Sprint(p.Attempt), MetaRecords: fmt.Sprint(p.Records),
	}
	used := len(MetaRanges)
	for k, v := range m {
		used += len(k) + len(v)
	}
	if used > backend.MaxMeta { // a sink of a very long path
		delete(m, MetaSink)
		return m
	}
	var b strings.Builder
	for _, r := range p.Ranges {
		fmt.Fprintf(&b, "%d.%d:%d+%d,", r.Source.Ino, r.Source.Gen, r.Off, r.Len)
		if used+b.Len() > backend.MaxMeta {
			return m // the manifest has them
		}
	}
	m[MetaRanges] = strings.TrimSuffix(b.String(), ",")
	return m
}

// stage brings every pending part as near to the store as is possible without
// being seen, in parallel: a large one is uploaded, of a small one the
// checksum is taken. Those that fail are declined: they are returned with
// why, and go to the next checkpoint.
func (in *Instance) stage(ctx context.Context, parts []*part) (ready []*part, failed map[*part]error) {
	errs := make([]error, len(parts))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, in.store.Properties().Parallel))
	for i, p := range parts {
		g.Go(func() error {
			errs[i] = in.stagePart(ctx, p)
			return nil
		})
	}
	_ = g.Wait() // no func fails
	failed = map[*part]error{}
	for i, p := range parts {
		p.seen = nil
		if errs[i] == nil {
			ready = append(ready, p)
		} else {
			failed[p] = errs[i]
		}
	}
	return ready, failed
}

func (in *Instance) stagePart(ctx context.Context, p *part) error {
	if p.staged != nil || p.Checksum != "" && p.Bytes <= in.store.Properties().StageAbove {
		return fault.Hit(fault.StageDone)
	}
	if p.Bytes > in.store.Properties().StageAbove {
		in.noteUpload(p)
	}
	if g := p.growth; g != nil {
		p.growth = nil
		if done, err := in.stageGrown(ctx, p, g); err != nil {
			return err
		} else if done {
			return fault.Hit(fault.StageDone)
		}
	}
	ctx, alive, cancel := withProgress(ctx, in.cfg.CommitTimeout)
	defer cancel()
	if p.Bytes <= in.store.Properties().StageAbove {
		if err := in.readSmall(ctx, p, alive); err != nil {
			return err
		}
		return fault.Hit(fault.StageDone)
	}
	in.abortBefore(ctx, p)
	var last *body
	staged, err := in.store.Stage(ctx, in.object(p, alive, func() (io.ReadCloser, error) {
		last = newBody(p, alive)
		last.staged = true
		return last, nil
	}))
	if err != nil {
		in.target.failed(err)
		return err
	}
	in.target.ok()
	if err := in.check(p, staged.Checksum(), last.counter.Count()); err != nil {
		return errors.Join(err, staged.Abort(ctx))
	}
	p.staged = staged
	return fault.Hit(fault.StageDone)
}

// readSmall takes the checksum of a part that is sent at its commit, and keeps
// the bytes until then while there is room for them.
func (in *Instance) readSmall(ctx context.Context, p *part, alive func()) error {
	b := newBody(p, alive)
	var to io.Writer = io.Discard
	var kept *bytes.Buffer
	if in.kept.take(p.Bytes) {
		kept = bytes.NewBuffer(make([]byte, 0, p.Bytes))
		to = kept
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{to}, readerWithContext{ctx, b}, make([]byte, min(copyBuffer, p.Bytes+1)))
	err = errors.Join(err, b.Close())
	if err == nil && n != p.Bytes {
		err = fmt.Errorf("part %d: %d of %d bytes are in the spool: %w", p.ID, n, p.Bytes, errChanged)
	}
	if err == nil {
		err = in.check(p, b.checksum(), b.counter.Count())
	}
	switch {
	case kept == nil:
	case err != nil:
		in.kept.give(p.Bytes)
	default:
		p.kept = kept.Bytes()
	}
	return err
}

const (
	// copyBuffer is how much of a part is read at a time.
	copyBuffer = 256 << 10
	// keepBudget bounds the bytes of small parts kept between reading and
	// sending them.
	keepBudget = 32 << 20
)

// budget is a number of bytes that may be taken.
type budget struct{ left atomic.Int64 }

func (b *budget) take(n int64) bool {
	if b.left.Add(-n) >= 0 {
		return true
	}
	b.left.Add(n)
	return false
}

func (b *budget) give(n int64) { b.left.Add(n) }

// forget gives back what was kept of a part.
func (in *Instance) forget(p *part) {
	if p.kept != nil {
		in.kept.give(int64(len(p.kept)))
		p.kept = nil
	}
}

// check compares what was read with what was read before, and notes it the
// first time.
func (in *Instance) check(p *part, sum string, records int64) error {
	if p.Checksum != "" && !sameSum(p.Checksum, sum) {
		return fmt.Errorf("part %d: %w", p.ID, errChanged)
	}
	in.update(p, func(r *journal.Part) {
		r.Checksum = sum
		if !r.File || p.sink.File { // what a whole glob names has no records that we know
			r.Records = records
		}
	})
	return nil
}

// update changes the record of a part, which the status reads meanwhile.
func (in *Instance) update(p *part, change func(*journal.Part)) {
	in.mu.Lock()
	defer in.mu.Unlock()
	change(&p.Part)
}

// withProgress ends the context when alive was not called for d: a timeout
// without progress, not of the whole.
func withProgress(ctx context.Context, d time.Duration) (_ context.Context, alive, cancel func()) {
	ctx, stop := context.WithCancelCause(ctx)
	var last atomic.Int64
	last.Store(time.Now().UnixNano())
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		idle := time.Duration(time.Now().UnixNano() - last.Load())
		if idle >= d {
			stop(fmt.Errorf("no progress for %v: %w", d, context.DeadlineExceeded))
			return
		}
		t.Reset(d - idle)
	})
	return ctx, func() { last.Store(time.Now().UnixNano()) }, func() { t.Stop(); stop(nil) }
}

type readerWithContext struct {
	ctx context.Context //nolint:containedctx // it ends the reads of one call
	r   io.Reader
}

func (r readerWithContext) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}

package objects

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/internal/fault"
)

const (
	// tidyTimeout bounds how long is spent on what no caller asked for.
	tidyTimeout = 10 * time.Second
	// tidyLate is what is left of it when the caller's time is over.
	tidyLate = time.Second
)

// Tidy is a context for taking away what would stay in the store and cost,
// even if ctx has ended. Who has given a deadline waits little longer.
func Tidy(ctx context.Context) (context.Context, context.CancelFunc) {
	d := tidyTimeout
	if end, ok := ctx.Deadline(); ok {
		d = min(d, max(tidyLate, time.Until(end)))
	}
	return context.WithTimeout(context.WithoutCancel(ctx), d)
}

// Calls are the requests of multipart uploads as one kind of store speaks
// them. P is what it has to be told again of each part at the end.
type Calls[P any] interface {
	// Begin returns the store's id of a new upload.
	Begin(ctx context.Context, o backend.Object) (id string, err error)
	// Send uploads a part once, and wants to know that it arrived as it was.
	Send(ctx context.Context, u backend.Upload, p Part) (P, error)
	// Complete makes the object of all parts, whose checksum is sum, where
	// none is. proved is false when the store's yes does not show that the
	// object is this one.
	Complete(ctx context.Context, u backend.Upload, f Finished[P]) (proved bool, err error)
	// Abort is that of backend.UploadLister.
	Abort(ctx context.Context, u backend.Upload) error
	// Look is Stat, asked once.
	Look(ctx context.Context, k backend.Key) (backend.Info, error)
	// Checksum is a sum as Info has it, "" when the store keeps none.
	Checksum(sum uint64) string
}

// Part is one part on its way.
type Part struct {
	Number, Of int // from 1; how many are known of by now
	Size       int64
	Sum        uint64
	Body       io.Reader
}

// Finished is an upload of which every part is there.
type Finished[P any] struct {
	Object backend.Object
	Parts  []P // by number
	Sum    uint64
}

// Uploads stages objects by multipart uploads.
type Uploads[P any] struct {
	Calls    Calls[P]
	PartSize int64
	Buffers  *Buffers
	Sum      Sum
	Log      *slog.Logger
}

// upload is one that is being filled.
type upload[P any] struct {
	*Uploads[P]
	o    backend.Object
	id   string
	part int64 // size of each but the last
	size int64 // of what is sent
	sum  uint64

	mu    sync.Mutex
	parts []P // by number
}

// begin plans the upload of an object of at most its size, and begins it.
func (u *Uploads[P]) begin(ctx context.Context, o backend.Object) (*upload[P], error) {
	part, err := plan(o, u.PartSize)
	if err != nil {
		return nil, err
	}
	id, err := Retry(ctx, func() (string, error) { return u.Calls.Begin(ctx, o) }) // one whose answer is lost is for gc
	if err != nil {
		return nil, err
	}
	up := &upload[P]{Uploads: u, o: o, id: id, part: part}
	if err := fault.Hit(fault.StoreBegun); err != nil {
		u.Abandon(ctx, up.named())
		return nil, err
	}
	return up, nil
}

// Stage uploads an object in parts, which nobody sees before the commit.
func (u *Uploads[P]) Stage(ctx context.Context, o backend.Object) (backend.Staged, error) {
	src, err := OpenSource(o)
	if err != nil {
		return nil, fmt.Errorf("stage %q: %w", string(o.Key), err)
	}
	defer src.Close()
	up, err := u.begin(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := up.fill(ctx, o, src); err != nil {
		u.Abandon(ctx, up.named())
		return nil, fmt.Errorf("stage %q: %w", string(o.Key), err)
	}
	return up.staged(), nil
}

// Grow begins an upload with parts of the size that its limit asks for.
func (u *Uploads[P]) Grow(ctx context.Context, o backend.Object) (backend.Growing, error) {
	up, err := u.begin(ctx, o)
	if err != nil {
		return nil, err
	}
	return growing[P]{up}, nil
}

// fill sends what follows the parts that are sent, the body of o.
func (u *upload[P]) fill(ctx context.Context, o backend.Object, src *Source) error {
	if o.Alive == nil {
		o.Alive = func() {}
	}
	parts := &Parts{Object: o, First: len(u.parts), Part: u.part, Buffers: u.Buffers, Sum: u.Sum, Send: u.send}
	u.parts = append(u.parts, make([]P, parts.Count())...)
	sum, err := parts.Fill(ctx, src)
	u.sum, u.size = u.Sum.Combine(u.sum, sum, o.Size), u.size+o.Size
	return err
}

func (u *upload[P]) send(ctx context.Context, number int, n int64, sum uint64, body io.Reader) error {
	part, err := u.Calls.Send(ctx, u.named(), Part{Number: number, Of: len(u.parts), Size: n, Sum: sum, Body: body})
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts[number-1] = part
	return nil
}

func (u *upload[P]) named() backend.Upload { return backend.Upload{Key: u.o.Key, ID: u.id} }

// staged is the upload with all that was sent.
func (u *upload[P]) staged() *staged[P] {
	u.o.Size = u.size
	return &staged[P]{upload: u}
}

// Abandon gives up an upload that failed, even if the context has ended: its
// bytes would stay in the store and cost.
func (u *Uploads[P]) Abandon(ctx context.Context, failed backend.Upload) {
	ctx, cancel := Tidy(ctx)
	defer cancel()
	if err := u.Calls.Abort(ctx, failed); err != nil {
		u.Log.Warn("an upload that failed could not be aborted, gc will find it",
			slog.String("key", string(failed.Key)), slog.String("upload", failed.ID), slog.Any("error", err))
	}
}

// growing is an upload whose end is not known yet.
type growing[P any] struct{ up *upload[P] }

// Unit is the size of a part.
func (g growing[P]) Unit() int64 { return g.up.part }

// Append uploads a piece in parts.
func (g growing[P]) Append(ctx context.Context, p backend.Piece) error {
	if err := fits(g.up.o.Key, g.up.size, p.Size, g.up.part, g.up.o.Size); err != nil {
		return err
	}
	o := backend.Object{Key: g.up.o.Key, Size: p.Size, Open: p.Open, Alive: p.Alive}
	src, err := OpenSource(o)
	if err == nil {
		defer src.Close()
		err = g.up.fill(ctx, o, src)
	}
	if err != nil {
		return fmt.Errorf("grow %q: %w", string(o.Key), err)
	}
	return nil
}

// Seal leaves nothing to do but the commit. Not every server completes an
// upload of no bytes.
func (g growing[P]) Seal(context.Context) (backend.Staged, error) {
	if g.up.size == 0 {
		return nil, fmt.Errorf("grow %q: nothing was appended", string(g.up.o.Key))
	}
	return g.up.staged(), nil
}

// Abort frees what the store has of it.
func (g growing[P]) Abort(ctx context.Context) error { return g.up.Calls.Abort(ctx, g.up.named()) }

// staged is an upload whose parts are all there.
type staged[P any] struct {
	upload *upload[P]

	mu   sync.Mutex // held during a call: one at a time
	info *backend.Info
}

// Checksum is that of all parts.
func (st *staged[P]) Checksum() string { return st.upload.Sum.Text(st.upload.sum) }

// Commit completes the upload with one request.
func (st *staged[P]) Commit(ctx context.Context) (backend.Info, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.info == nil {
		info, err := st.complete(ctx)
		if err != nil {
			return backend.Info{}, err
		}
		st.info = &info
	}
	info := *st.info
	info.Meta = maps.Clone(info.Meta)
	return info, nil
}

func (st *staged[P]) complete(ctx context.Context) (backend.Info, error) {
	u := st.upload
	if err := ctx.Err(); err != nil {
		return backend.Info{}, fmt.Errorf("commit %q: %w", string(u.o.Key), context.Cause(ctx))
	}
	if err := fault.Hit(fault.StoreTemp); err != nil {
		return backend.Info{}, err
	}
	proved, err := u.Calls.Complete(ctx, u.named(), Finished[P]{Object: u.o, Parts: u.parts, Sum: u.sum})
	if err == nil {
		err = fault.Hit(fault.StoreLinked)
	}
	if err != nil {
		return backend.Info{}, err
	}
	info := InfoOf(u.o)
	if info.Checksum = u.Calls.Checksum(u.sum); proved {
		return info, nil
	}
	return st.verify(ctx, info)
}

// verify looks at what stands there when a yes said too little.
func (st *staged[P]) verify(ctx context.Context, info backend.Info) (backend.Info, error) {
	found, err := st.upload.Calls.Look(ctx, info.Key)
	if err != nil {
		return backend.Info{}, err
	}
	differs := backend.ChecksumsDiffer(found.Checksum, info.Checksum)
	if !found.Owned || found.Size != info.Size || !maps.Equal(found.Meta, info.Meta) || differs {
		return backend.Info{}, fmt.Errorf("commit %q: the store said yes, but what is there is another object of %d bytes: %w",
			string(info.Key), found.Size, backend.ErrExist)
	}
	info.Checksum = found.Checksum
	return info, nil
}

// Abort gives the parts up.
func (st *staged[P]) Abort(ctx context.Context) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.info != nil {
		return nil
	}
	return st.upload.Calls.Abort(ctx, st.upload.named())
}

package oss

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"

	aliyun "github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

// abandonTimeout bounds how long an upload that failed is tidied away.
const abandonTimeout = 10 * time.Second

// upload is a multipart upload that is being filled.
type upload struct {
	store *Store
	o     backend.Object
	id    string
	part  int64 // size of each but the last
	size  int64 // of what is sent
	sum   uint64

	mu    sync.Mutex
	parts []aliyun.UploadPart // by number
}

// newUpload plans the upload of an object of at most its size.
func (s *Store) newUpload(ctx context.Context, o backend.Object) (*upload, error) {
	if err := s.acceptable(ctx, o); err != nil {
		return nil, err
	}
	part, err := objects.Plan(o, s.options.PartSize)
	return &upload{store: s, o: o, part: part}, err
}

// Stage uploads an object in parts, which nobody sees before the commit.
func (s *Store) Stage(ctx context.Context, o backend.Object) (backend.Staged, error) {
	u, err := s.newUpload(ctx, o)
	if err != nil {
		return nil, err
	}
	src, err := objects.OpenSource(o)
	if err != nil {
		return nil, fmt.Errorf("stage %q: %w", string(o.Key), err)
	}
	defer src.Close()
	if err := u.begin(ctx); err != nil {
		return nil, err
	}
	if err := u.fill(ctx, o, src); err != nil {
		u.abandon(ctx)
		return nil, fmt.Errorf("stage %q: %w", string(o.Key), err)
	}
	return u.staged(), nil
}

// fill sends what follows the parts that are sent, the body of o.
func (u *upload) fill(ctx context.Context, o backend.Object, src *objects.Source) error {
	if o.Alive == nil {
		o.Alive = func() {}
	}
	parts := &objects.Parts{Object: o, First: len(u.parts), Part: u.part, Buffers: u.store.buffers, Sum: crc{}, Send: u.send}
	u.parts = append(u.parts, make([]aliyun.UploadPart, parts.Count())...)
	sum, err := parts.Fill(ctx, src)
	u.sum, u.size = crc{}.Combine(u.sum, sum, o.Size), u.size+o.Size
	return err
}

// staged is the upload with all that was sent.
func (u *upload) staged() *staged {
	u.o.Size = u.size
	return &staged{store: u.store, o: u.o, id: u.id, parts: u.parts, sum: u.sum}
}

func (u *upload) begin(ctx context.Context) error {
	what := fmt.Sprintf("begin the upload of %q", string(u.o.Key))
	_, err := u.store.call(ctx, what, func(options []aliyun.Option) error {
		out, err := u.store.bucket.InitiateMultipartUpload(u.store.full(u.o.Key), options...)
		if u.id = out.UploadID; err == nil && u.id == "" {
			err = errEmpty
		}
		return err
	}, u.store.objectOptions(u.o)...)
	return err
}

// name is the upload as the SDK takes it.
func (s *Store) name(k backend.Key, id string) aliyun.InitiateMultipartUploadResult {
	return aliyun.InitiateMultipartUploadResult{Bucket: s.options.Bucket, Key: s.full(k), UploadID: id}
}

// send uploads a part and has the store tell that it arrived as it was.
func (u *upload) send(ctx context.Context, number int, n int64, sum uint64, body io.Reader) error {
	s, what := u.store, "part "+strconv.Itoa(number)+" of "+strconv.Itoa(len(u.parts))
	var part aliyun.UploadPart
	header, err := s.call(ctx, what, func(options []aliyun.Option) error {
		var err error
		part, err = s.bucket.UploadPart(s.name(u.o.Key, u.id), body, n, number, options...)
		return err
	})
	if err != nil {
		return err
	}
	if got, told := readSum(header); told && got != sum {
		return fmt.Errorf("%s: the store says its checksum is %s, %s was sent: %w", what, formatSum(got), formatSum(sum), backend.ErrTransient)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts[number-1] = part
	return nil
}

// abandon gives up an upload that failed, even if the context has ended: its
// bytes would stay in the store and cost.
func (u *upload) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonTimeout)
	defer cancel()
	if err := u.store.AbortUpload(ctx, backend.Upload{Key: u.o.Key, ID: u.id}); err != nil {
		u.store.log.Warn("an upload that failed could not be aborted, gc will find it",
			slog.String("key", string(u.o.Key)), slog.String("upload", u.id), slog.Any("error", err))
	}
}

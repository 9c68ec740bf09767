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

	mu    sync.Mutex
	parts []aliyun.UploadPart // by number
}

// Stage uploads an object in parts, which nobody sees before the commit.
func (s *Store) Stage(ctx context.Context, o backend.Object) (backend.Staged, error) {
	if err := s.acceptable(ctx, o); err != nil {
		return nil, err
	}
	part := objects.PartSize(o.Size, s.options.PartSize)
	if part > objects.MaxPart {
		return nil, fmt.Errorf("stage %q: %d bytes are more than OSS takes in one object: %w", string(o.Key), o.Size, backend.ErrUnsupported)
	}
	u := &upload{store: s, o: o}
	if o.Alive == nil {
		u.o.Alive = func() {}
	}
	parts := &objects.Parts{Object: u.o, Part: part, Buffers: s.buffers, Sum: crc{}, Send: u.send}
	u.parts = make([]aliyun.UploadPart, parts.Count())
	src, err := objects.OpenSource(u.o)
	if err != nil {
		return nil, fmt.Errorf("stage %q: %w", string(o.Key), err)
	}
	defer src.Close()
	if err := u.begin(ctx); err != nil {
		return nil, err
	}
	sum, err := parts.Fill(ctx, src)
	if err != nil {
		u.abandon(ctx)
		return nil, fmt.Errorf("stage %q: %w", string(o.Key), err)
	}
	return &staged{store: s, o: o, id: u.id, parts: u.parts, sum: sum}, nil
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

package oss

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	aliyun "github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

// Stage uploads an object in parts, which nobody sees before the commit.
func (s *Store) Stage(ctx context.Context, o backend.Object) (backend.Staged, error) {
	if err := s.acceptable(ctx, o); err != nil {
		return nil, err
	}
	return s.uploads.Stage(ctx, o)
}

// Grow begins an upload with parts of the size that its limit asks for.
func (s *Store) Grow(ctx context.Context, o backend.Object) (backend.Growing, error) {
	if err := s.acceptable(ctx, o); err != nil {
		return nil, err
	}
	return s.uploads.Grow(ctx, o)
}

// calls are the requests of uploads.
type calls struct{ s *Store }

var _ objects.Calls[aliyun.UploadPart] = calls{}

// named is an upload as the SDK takes it.
func (s *Store) named(u backend.Upload) aliyun.InitiateMultipartUploadResult {
	return aliyun.InitiateMultipartUploadResult{Bucket: s.options.Bucket, Key: s.full(u.Key), UploadID: u.ID}
}

// Begin implements objects.Calls.
func (c calls) Begin(ctx context.Context, o backend.Object) (id string, err error) {
	what := fmt.Sprintf("begin the upload of %q", string(o.Key))
	_, err = c.s.call(ctx, what, func(options []aliyun.Option) error {
		out, err := c.s.bucket.InitiateMultipartUpload(c.s.full(o.Key), options...)
		if id = out.UploadID; err == nil && id == "" {
			err = errEmpty
		}
		return err
	}, c.s.objectOptions(o)...)
	return id, err
}

// Send implements objects.Calls: OSS tells the checksum of what arrived.
func (c calls) Send(ctx context.Context, u backend.Upload, p objects.Part) (part aliyun.UploadPart, err error) {
	what := fmt.Sprintf("part %d of %d", p.Number, p.Of)
	header, err := c.s.call(ctx, what, func(options []aliyun.Option) (err error) {
		part, err = c.s.bucket.UploadPart(c.s.named(u), p.Body, p.Size, p.Number, options...)
		return err
	})
	if err != nil {
		return part, err
	}
	if got, told := readSum(header); told && got != p.Sum {
		return part, fmt.Errorf("%s: the store says its checksum is %s, %s was sent: %w", what, formatSum(got), formatSum(p.Sum), backend.ErrTransient)
	}
	return part, nil
}

// Complete implements objects.Calls.
func (c calls) Complete(ctx context.Context, u backend.Upload, f objects.Finished[aliyun.UploadPart]) (proved bool, err error) {
	what := fmt.Sprintf("commit %q", string(u.Key))
	if err := c.s.lookBefore(ctx, u.Key); err != nil {
		return false, err
	}
	header, err := c.completeOnce(ctx, what, u, f.Parts)
	if errors.Is(err, backend.ErrGone) {
		// Parts that are not as they were sent do not become so: what is left
		// of the upload goes too.
		return false, errors.Join(err, c.Abort(ctx, u))
	}
	if err != nil {
		return false, err
	}
	c.s.noteVersions(header)
	got, told := readSum(header)
	if told && got != f.Sum {
		// Every part was verified, so this was somebody else's doing.
		return false, c.s.takeBack(ctx, what, u.Key, header, f.Sum)
	}
	return told, nil
}

func (c calls) completeOnce(ctx context.Context, what string, u backend.Upload, parts []aliyun.UploadPart) (http.Header, error) {
	return c.s.call(ctx, what, func(options []aliyun.Option) error {
		// The SDK sorts what it is given.
		_, err := c.s.bucket.CompleteMultipartUpload(c.s.named(u), slices.Clone(parts), options...)
		return err
	}, aliyun.ForbidOverWrite(true))
}

// Abort implements objects.Calls.
func (c calls) Abort(ctx context.Context, u backend.Upload) error { return c.s.AbortUpload(ctx, u) }

// Look implements objects.Calls.
func (c calls) Look(ctx context.Context, k backend.Key) (backend.Info, error) {
	return c.s.head(ctx, k)
}

// Checksum implements objects.Calls.
func (calls) Checksum(sum uint64) string { return formatSum(sum) }

package oss

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	aliyun "github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

// Uploads lists what was begun at and below a key.
func (s *Store) Uploads(ctx context.Context, under backend.Key, fn func(backend.Upload) error) error {
	if under != "" {
		if err := s.valid(under); err != nil {
			return err
		}
	}
	what := fmt.Sprintf("list the uploads of %q", string(under))
	first := []aliyun.Option{aliyun.Prefix(s.full(under)), aliyun.MaxUploads(pageSize)}
	for options := first; ; {
		page, err := objects.Retry(ctx, func() (out aliyun.ListMultipartUploadResult, err error) {
			_, err = s.call(ctx, what, func(common []aliyun.Option) (err error) {
				out, err = s.bucket.ListMultipartUploads(common...)
				return err
			}, options...)
			return out, err
		})
		if err != nil {
			return err
		}
		for _, u := range page.Uploads {
			k, ours := strings.CutPrefix(u.Key, s.prefix)
			if below := strings.HasPrefix(k, string(under)+"/"); !ours || k == "" || under != "" && k != string(under) && !below {
				continue
			}
			if err := fn(backend.Upload{Key: backend.Key(k), ID: u.UploadID, Started: u.Initiated}); err != nil {
				return err
			}
		}
		if !page.IsTruncated || page.NextKeyMarker == "" {
			return nil
		}
		options = append(slices.Clip(first), aliyun.KeyMarker(page.NextKeyMarker), aliyun.UploadIDMarker(page.NextUploadIDMarker))
	}
}

// abortTries bounds how often an upload is aborted that still has parts.
const abortTries = 3

// AbortUpload frees what an upload holds. A part that is on its way meanwhile
// stays behind, so it looks for one and aborts again.
func (s *Store) AbortUpload(ctx context.Context, u backend.Upload) error {
	for range abortTries {
		err := s.abort(ctx, u)
		if err == nil {
			err = s.anyPart(ctx, u)
		}
		switch {
		case errors.Is(err, backend.ErrGone):
			return nil
		case err != nil:
			return err
		}
	}
	return fmt.Errorf("abort the upload of %q: parts of it go on arriving: %w", string(u.Key), backend.ErrTransient)
}

// abort is the request alone.
func (s *Store) abort(ctx context.Context, u backend.Upload) error {
	_, err := objects.Retry(ctx, func() (struct{}, error) {
		_, err := s.call(ctx, fmt.Sprintf("abort the upload of %q", string(u.Key)), func(options []aliyun.Option) error {
			return s.bucket.AbortMultipartUpload(s.named(u), options...)
		})
		return struct{}{}, err
	})
	return err
}

// anyPart is ErrGone when the store has forgotten the upload.
func (s *Store) anyPart(ctx context.Context, u backend.Upload) error {
	_, err := objects.Retry(ctx, func() (struct{}, error) {
		_, err := s.call(ctx, fmt.Sprintf("list the parts of %q", string(u.Key)), func(options []aliyun.Option) error {
			_, err := s.bucket.ListUploadedParts(s.named(u), options...)
			return err
		}, aliyun.MaxParts(1))
		return struct{}{}, err
	})
	return err
}

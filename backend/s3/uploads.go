package s3

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

// Uploads lists what was begun at and below a key. MinIO tells only of the
// uploads of an exact key.
func (s *Store) Uploads(ctx context.Context, under backend.Key, fn func(backend.Upload) error) error {
	if under != "" {
		if err := under.Validate(s.props.MaxKey); err != nil {
			return err
		}
	}
	in := &awss3.ListMultipartUploadsInput{
		Bucket: &s.options.Bucket, Prefix: aws.String(s.full(under)), EncodingType: types.EncodingTypeUrl, RequestPayer: s.payer(),
	}
	for {
		out, err := objects.Retry(ctx, func() (*awss3.ListMultipartUploadsOutput, error) {
			out, err := s.client.ListMultipartUploads(ctx, in)
			if err != nil {
				return nil, s.failure(ctx, fmt.Sprintf("list the uploads of %q", string(under)), err)
			}
			return out, isAnswer("list the uploads", out.Bucket)
		})
		if err != nil {
			return err
		}
		for _, u := range out.Uploads {
			k, ours := strings.CutPrefix(decodeKey(u.Key, out.EncodingType), s.prefix)
			if below := strings.HasPrefix(k, string(under)+"/"); !ours || k == "" || under != "" && k != string(under) && !below {
				continue
			}
			if err := fn(backend.Upload{Key: backend.Key(k), ID: aws.ToString(u.UploadId), Started: aws.ToTime(u.Initiated)}); err != nil {
				return err
			}
		}
		if !aws.ToBool(out.IsTruncated) {
			return nil
		}
		in.KeyMarker, in.UploadIdMarker = aws.String(decodeKey(out.NextKeyMarker, out.EncodingType)), out.NextUploadIdMarker
	}
}

// AbortUpload frees what an upload holds.
func (s *Store) AbortUpload(ctx context.Context, u backend.Upload) error {
	what := fmt.Sprintf("abort the upload of %q", string(u.Key))
	_, err := objects.Retry(ctx, func() (*awss3.AbortMultipartUploadOutput, error) {
		out, err := s.client.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{
			Bucket: &s.options.Bucket, Key: aws.String(s.full(u.Key)), UploadId: &u.ID, RequestPayer: s.payer(),
		})
		if err != nil {
			err = s.failure(ctx, what, err)
		}
		return out, err
	})
	if errors.Is(err, backend.ErrGone) {
		return nil
	}
	return err
}

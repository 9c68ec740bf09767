package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

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

var _ objects.Calls[types.CompletedPart] = calls{}

// Begin implements objects.Calls.
func (c calls) Begin(ctx context.Context, object backend.Object) (string, error) {
	o := c.s.options
	in := &awss3.CreateMultipartUploadInput{
		Bucket: &o.Bucket, Key: aws.String(c.s.full(object.Key)), Metadata: objects.Metadata(object),
		StorageClass: types.StorageClass(o.StorageClass), Tagging: optional(o.Tags),
		ServerSideEncryption: types.ServerSideEncryption(o.SSE), SSEKMSKeyId: optional(o.KMSKey),
		RequestPayer: c.s.payer(),
	}
	if !o.NoChecksum {
		in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmCrc32c, types.ChecksumTypeFullObject
	}
	what := fmt.Sprintf("begin the upload of %q", string(object.Key))
	out, err := c.s.client.CreateMultipartUpload(ctx, in)
	if err != nil {
		return "", c.s.failure(ctx, what, err)
	}
	// What is sent to the upload "" some servers keep, and never complete.
	return aws.ToString(out.UploadId), isAnswer(what, out.UploadId)
}

// Send implements objects.Calls: S3 refuses a part that is not as its
// checksum says.
func (c calls) Send(ctx context.Context, u backend.Upload, p objects.Part) (types.CompletedPart, error) {
	o, number := c.s.options, int32(p.Number)
	in := &awss3.UploadPartInput{
		Bucket: &o.Bucket, Key: aws.String(c.s.full(u.Key)), UploadId: &u.ID, PartNumber: &number,
		Body: p.Body, ContentLength: &p.Size, RequestPayer: c.s.payer(),
	}
	part := types.CompletedPart{PartNumber: &number}
	if p.Size == 0 {
		in.Body = bytes.NewReader(nil)
	}
	if !o.NoChecksum {
		in.ChecksumAlgorithm, in.ChecksumCRC32C = types.ChecksumAlgorithmCrc32c, wireSum(uint32(p.Sum))
		part.ChecksumCRC32C = in.ChecksumCRC32C
	}
	out, err := c.s.client.UploadPart(ctx, in)
	if err != nil {
		return part, c.s.failure(ctx, fmt.Sprintf("part %d of %d", p.Number, p.Of), err)
	}
	part.ETag = out.ETag
	return part, isAnswer(fmt.Sprintf("part %d of %d", p.Number, p.Of), out.ETag)
}

// Complete implements objects.Calls. What S3 answers is believed only if it
// is about our bytes: one family of servers says yes to an upload that it does
// not know when any object has the key.
func (c calls) Complete(ctx context.Context, u backend.Upload, f objects.Finished[types.CompletedPart]) (proved bool, err error) {
	if err := c.s.lookBefore(ctx, u.Key); err != nil {
		return false, err
	}
	out, err := c.s.client.CompleteMultipartUpload(ctx, c.s.completeInput(u, f))
	if err != nil {
		return false, c.refused(ctx, u, c.s.failure(ctx, fmt.Sprintf("commit %q", string(u.Key)), err))
	}
	got, told := readSum(out.ChecksumCRC32C)
	return told && got == uint32(f.Sum) && !c.s.options.NoChecksum, nil
}

func (s *Store) completeInput(u backend.Upload, f objects.Finished[types.CompletedPart]) *awss3.CompleteMultipartUploadInput {
	in := &awss3.CompleteMultipartUploadInput{
		Bucket: &s.options.Bucket, Key: aws.String(s.full(u.Key)), UploadId: &u.ID, IfNoneMatch: aws.String("*"),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: f.Parts}, RequestPayer: s.payer(),
	}
	if !s.options.NoChecksum {
		in.ChecksumType, in.ChecksumCRC32C, in.MpuObjectSize = types.ChecksumTypeFullObject, wireSum(uint32(f.Sum)), &f.Object.Size
	}
	return in
}

// refused decides the answers after which the upload cannot be completed any
// more.
func (c calls) refused(ctx context.Context, u backend.Upload, err error) error {
	if !errors.Is(err, errConflict) {
		return err
	}
	err = c.s.conflict(ctx, u.Key, err)
	if errors.Is(err, backend.ErrExist) {
		return err
	}
	// S3 wants a new upload after it; nobody has the key.
	if e := c.Abort(ctx, u); e != nil {
		return e
	}
	return fmt.Errorf("commit %q: the store met another writer and wants the object sent again: %w", string(u.Key), backend.ErrGone)
}

// Abort implements objects.Calls.
func (c calls) Abort(ctx context.Context, u backend.Upload) error { return c.s.AbortUpload(ctx, u) }

// Look implements objects.Calls.
func (c calls) Look(ctx context.Context, k backend.Key) (backend.Info, error) {
	return c.s.head(ctx, k)
}

// Checksum implements objects.Calls.
func (c calls) Checksum(sum uint64) string {
	if c.s.options.NoChecksum {
		return ""
	}
	return formatSum(uint32(sum))
}

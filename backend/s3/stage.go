package s3

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

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

	mu    sync.Mutex
	parts []types.CompletedPart // by number
}

// Stage uploads an object in parts, which nobody sees before the commit.
func (s *Store) Stage(ctx context.Context, o backend.Object) (backend.Staged, error) {
	if err := s.acceptable(ctx, o); err != nil {
		return nil, err
	}
	u := &upload{store: s, o: o, part: objects.PartSize(o.Size, s.options.PartSize)}
	if u.part > objects.MaxPart {
		return nil, fmt.Errorf("stage %q: %d bytes are more than S3 takes in one object: %w", string(o.Key), o.Size, backend.ErrUnsupported)
	}
	if o.Alive == nil {
		u.o.Alive = func() {}
	}
	parts := &objects.Parts{Object: u.o, Part: u.part, Buffers: s.buffers, Sum: crc{}, Send: u.send}
	u.parts = make([]types.CompletedPart, parts.Count())
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
	return &staged{store: s, o: o, id: u.id, parts: u.parts, sum: uint32(sum)}, nil
}

func (u *upload) begin(ctx context.Context) error {
	o := u.store.options
	in := &awss3.CreateMultipartUploadInput{
		Bucket: &o.Bucket, Key: aws.String(u.store.full(u.o.Key)), Metadata: objects.Metadata(u.o),
		StorageClass: types.StorageClass(o.StorageClass), Tagging: optional(o.Tags),
		ServerSideEncryption: types.ServerSideEncryption(o.SSE), SSEKMSKeyId: optional(o.KMSKey),
		RequestPayer: u.store.payer(),
	}
	if !o.NoChecksum {
		in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmCrc32c, types.ChecksumTypeFullObject
	}
	out, err := u.store.client.CreateMultipartUpload(ctx, in)
	if err != nil {
		return u.store.failure(ctx, fmt.Sprintf("begin the upload of %q", string(u.o.Key)), err)
	}
	u.id = aws.ToString(out.UploadId)
	return nil
}

func (u *upload) send(ctx context.Context, number int, n int64, sum uint64, body io.Reader) error {
	part, err := u.sendOnce(ctx, int32(number), n, uint32(sum), body)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts[number-1] = part
	return nil
}

func (u *upload) sendOnce(ctx context.Context, number int32, n int64, sum uint32, body io.Reader) (types.CompletedPart, error) {
	o := u.store.options
	in := &awss3.UploadPartInput{
		Bucket: &o.Bucket, Key: aws.String(u.store.full(u.o.Key)), UploadId: &u.id, PartNumber: &number,
		Body: body, ContentLength: &n, RequestPayer: u.store.payer(),
	}
	part := types.CompletedPart{PartNumber: &number}
	if n == 0 {
		in.Body = bytes.NewReader(nil)
	}
	if !o.NoChecksum {
		in.ChecksumAlgorithm, in.ChecksumCRC32C = types.ChecksumAlgorithmCrc32c, wireSum(sum)
		part.ChecksumCRC32C = in.ChecksumCRC32C
	}
	out, err := u.store.client.UploadPart(ctx, in)
	if err != nil {
		return part, u.store.failure(ctx, fmt.Sprintf("part %d of %d", number, len(u.parts)), err)
	}
	part.ETag = out.ETag
	return part, nil
}

// abandon gives up an upload that failed, even if the context has ended: its
// bytes would stay in the store and cost.
func (u *upload) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonTimeout)
	defer cancel()
	if err := u.store.AbortUpload(ctx, backend.Upload{Key: u.o.Key, ID: u.id}); err != nil {
		u.store.logAbandoned(u.o.Key, u.id, err)
	}
}

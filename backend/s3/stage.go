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
	size  int64 // of what is sent
	sum   uint32

	mu    sync.Mutex
	parts []types.CompletedPart // by number
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
	u.parts = append(u.parts, make([]types.CompletedPart, parts.Count())...)
	sum, err := parts.Fill(ctx, src)
	u.sum, u.size = combine(u.sum, uint32(sum), o.Size), u.size+o.Size
	return err
}

// staged is the upload with all that was sent.
func (u *upload) staged() *staged {
	u.o.Size = u.size
	return &staged{store: u.store, o: u.o, id: u.id, parts: u.parts, sum: u.sum}
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

package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

// inMemory is the size up to which a body is held in memory rather than read
// twice.
const inMemory = 256 << 10

// payload is a body ready to be sent.
type payload struct {
	io.Reader
	source *objects.Source // nil when it is in memory
	sum    uint32
}

// payload opens a body and knows its checksum.
func (s *Store) payload(o backend.Object) (*payload, error) {
	if o.Size <= inMemory {
		return readPayload(o)
	}
	p := &payload{}
	sum, known := parseSum(o.Checksum)
	if !known && !s.options.NoChecksum {
		var err error
		if sum, err = sumOf(o); err != nil {
			return nil, err
		}
	}
	p.sum = sum
	src, err := objects.OpenSource(o)
	p.source, p.Reader = src, src
	return p, err
}

func readPayload(o backend.Object) (*payload, error) {
	body, err := objects.ReadAll(o)
	if err != nil {
		return nil, err
	}
	return &payload{Reader: bytes.NewReader(body), sum: crc32.Checksum(body, castagnoli)}, nil
}

// Put publishes an object with one conditional request.
func (s *Store) Put(ctx context.Context, o backend.Object) (backend.Info, error) {
	what := fmt.Sprintf("put %q", string(o.Key))
	if err := s.acceptable(ctx, o); err != nil {
		return backend.Info{}, err
	}
	body, err := s.payload(o)
	if err != nil {
		return backend.Info{}, fmt.Errorf("%s: %w", what, err)
	}
	defer func() { _ = body.source.Close() }() // it was only read
	if err := s.lookBefore(ctx, o.Key); err != nil {
		return backend.Info{}, err
	}
	out, err := s.client.PutObject(ctx, s.putInput(o, body))
	if e := body.source.Err(); e != nil {
		return backend.Info{}, fmt.Errorf("%s: %w", what, e)
	}
	if err != nil {
		return backend.Info{}, s.conflict(ctx, o.Key, s.failure(ctx, what, err))
	}
	if err := isAnswer(what, out.ETag); err != nil {
		return backend.Info{}, err
	}
	info := objects.InfoOf(o)
	if sum, told := readSum(out.ChecksumCRC32C); told {
		info.Checksum = formatSum(sum)
		if sum != body.sum {
			return backend.Info{}, fmt.Errorf("%s: the store says its checksum is %s, %s was sent: %w", what, info.Checksum, formatSum(body.sum), backend.ErrTransient)
		}
	}
	return info, nil
}

// acceptable refuses what no request should be made for.
func (s *Store) acceptable(ctx context.Context, o backend.Object) error {
	if err := o.Validate(s.props.MaxKey); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put %q: %w", string(o.Key), context.Cause(ctx))
	}
	return nil
}

func (s *Store) putInput(o backend.Object, body *payload) *awss3.PutObjectInput {
	in := &awss3.PutObjectInput{
		Bucket: &s.options.Bucket, Key: aws.String(s.full(o.Key)), IfNoneMatch: aws.String("*"),
		Body: body.Reader, ContentLength: &o.Size, Metadata: objects.Metadata(o),
		StorageClass: types.StorageClass(s.options.StorageClass), Tagging: optional(s.options.Tags),
		ServerSideEncryption: types.ServerSideEncryption(s.options.SSE), SSEKMSKeyId: optional(s.options.KMSKey),
		RequestPayer: s.payer(),
	}
	if !s.options.NoChecksum {
		in.ChecksumAlgorithm, in.ChecksumCRC32C = types.ChecksumAlgorithmCrc32c, wireSum(body.sum)
	}
	return in
}

func (s *Store) payer() types.RequestPayer {
	if s.options.RequesterPays {
		return types.RequestPayerRequester
	}
	return ""
}

func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// lookBefore is the condition of a store that knows none.
func (s *Store) lookBefore(ctx context.Context, k backend.Key) error {
	if s.createOnly(ctx) {
		return nil
	}
	return objects.Vacant(ctx, k, s.head)
}

// conflict decides the answer that two writers met: one of them may have
// won, or none.
func (s *Store) conflict(ctx context.Context, k backend.Key, err error) error {
	if !errors.Is(err, errConflict) {
		return err
	}
	if _, headErr := s.head(ctx, k); headErr == nil {
		return fmt.Errorf("put %q: another writer was faster: %w", string(k), backend.ErrExist)
	}
	return err
}

package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/sinkfs/sinkfs/backend"
)

const (
	// maxParts and maxPart are S3's: parts of an upload, bytes of a part.
	maxParts = 10_000
	maxPart  = 5 << 30
	// partTries bounds how often a part is sent before the upload is given up.
	partTries = 5
	// abandonTimeout bounds how long an upload that failed is tidied away.
	abandonTimeout = 10 * time.Second
)

// partSize is that of an object's parts: the configured one while 10,000 of
// them are enough.
func partSize(size, usual int64) int64 {
	part := usual
	if size > usual*maxParts {
		part = (size + maxParts - 1) / maxParts
		if usual >= 1<<20 {
			part = (part + 1<<20 - 1) &^ (1<<20 - 1)
		}
	}
	return part
}

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
	u := &upload{store: s, o: o, part: partSize(o.Size, s.options.PartSize)}
	if u.part > maxPart {
		return nil, fmt.Errorf("stage %q: %d bytes are more than S3 takes in one object: %w", string(o.Key), o.Size, backend.ErrUnsupported)
	}
	if o.Alive == nil {
		u.o.Alive = func() {}
	}
	u.parts = make([]types.CompletedPart, max(1, (o.Size+u.part-1)/u.part))
	src, err := openSource(u.o)
	if err != nil {
		return nil, fmt.Errorf("stage %q: %w", string(o.Key), err)
	}
	defer src.Close()
	if err := u.begin(ctx); err != nil {
		return nil, err
	}
	sum, err := u.fill(ctx, src)
	if err != nil {
		u.abandon(ctx)
		return nil, fmt.Errorf("stage %q: %w", string(o.Key), err)
	}
	return &staged{store: s, o: o, id: u.id, parts: u.parts, sum: sum}, nil
}

func (u *upload) begin(ctx context.Context) error {
	o := u.store.options
	in := &awss3.CreateMultipartUploadInput{
		Bucket: &o.Bucket, Key: aws.String(u.store.full(u.o.Key)), Metadata: metadata(u.o),
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

// fill sends all parts and returns the checksum of the whole.
func (u *upload) fill(ctx context.Context, src *source) (uint32, error) {
	if u.part > u.store.options.Memory/2 {
		return u.stream(ctx, src)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	sum, err := u.fillBuffers(ctx, g, src)
	if err != nil {
		cancel()
	}
	if e := g.Wait(); e != nil && src.err() == nil {
		err = e // the first failure; reading may have ended because of it
	}
	return sum, err
}

// fillBuffers reads the body once, one part after the other, and has each
// sent while it reads the next.
func (u *upload) fillBuffers(ctx context.Context, g *errgroup.Group, src *source) (sum uint32, err error) {
	left := u.o.Size
	for i := range u.parts {
		n := min(left, u.part)
		left -= n
		buf, err := u.store.buffers.get(ctx, n)
		if err != nil {
			return 0, err
		}
		if err := readPart(src, buf); err != nil {
			u.store.buffers.put(buf)
			return 0, err
		}
		partSum := crc32.Checksum(buf, castagnoli)
		sum = combine(sum, partSum, n)
		g.Go(func() error {
			defer u.store.buffers.put(buf)
			return u.send(ctx, i, n, partSum, func() (io.ReadCloser, error) { return &piece{alive: u.o.Alive, left: buf}, nil })
		})
	}
	return sum, nil
}

// readPart fills the buffer; of an empty body it looks for the end.
func readPart(src *source, buf []byte) error {
	if len(buf) > 0 {
		_, err := io.ReadFull(src, buf)
		return err
	}
	if _, err := src.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// stream sends parts that are too large to be held: one after the other, each
// read once for its checksum and once more to be sent.
func (u *upload) stream(ctx context.Context, first *source) (sum uint32, err error) {
	second := &rereader{o: u.o}
	defer second.close()
	left := u.o.Size
	for i := range u.parts {
		n := min(left, u.part)
		hash := crc32.New(castagnoli)
		if _, err := io.CopyBuffer(hash, io.LimitReader(readerWithContext{ctx, first}, n), make([]byte, copyBuffer)); err != nil {
			return 0, err
		}
		sum = combine(sum, hash.Sum32(), n)
		off := u.o.Size - left
		left -= n
		err := u.send(ctx, i, n, hash.Sum32(), func() (io.ReadCloser, error) { return second.at(ctx, off, n) })
		if e := second.err(); e != nil {
			err = e
		}
		if err != nil {
			return 0, err
		}
	}
	return sum, nil
}

// send uploads one part, again and again with a new reader while that may
// help.
func (u *upload) send(ctx context.Context, i int, n int64, sum uint32, open func() (io.ReadCloser, error)) error {
	part, err := backoff.Retry(ctx, func() (types.CompletedPart, error) {
		body, err := open()
		if err != nil {
			return types.CompletedPart{}, backoff.Permanent(err)
		}
		defer body.Close()
		part, err := u.sendOnce(ctx, i, n, sum, body)
		if err != nil && (!errors.Is(err, backend.ErrTransient) || ctx.Err() != nil) {
			err = backoff.Permanent(err)
		}
		return part, err
	}, backoff.WithBackOff(pace()), backoff.WithMaxTries(partTries))
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts[i] = part
	return nil
}

func (u *upload) sendOnce(ctx context.Context, i int, n int64, sum uint32, body io.Reader) (types.CompletedPart, error) {
	o := u.store.options
	number := int32(i + 1)
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

// pace is that of tries after a failure; the watcher adds what the store
// asks for.
func pace() backoff.BackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 100*time.Millisecond, 5*time.Second
	return b
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

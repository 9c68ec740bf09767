package s3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

// staged is an upload whose parts are all there.
type staged struct {
	store *Store
	o     backend.Object
	id    string
	parts []types.CompletedPart
	sum   uint32

	mu   sync.Mutex // held during a call: one at a time
	info *backend.Info
}

// Commit completes the upload with one request. What it answers is believed
// only if it is about our bytes: one family of servers says yes to an upload
// that it does not know when any object has the key.
func (st *staged) Commit(ctx context.Context) (backend.Info, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.info == nil {
		if err := st.complete(ctx); err != nil {
			return backend.Info{}, err
		}
	}
	info := *st.info
	info.Meta = maps.Clone(info.Meta)
	return info, nil
}

func (st *staged) complete(ctx context.Context) error {
	s, what := st.store, fmt.Sprintf("commit %q", string(st.o.Key))
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	if err := s.lookBefore(ctx, st.o.Key); err != nil {
		return err
	}
	out, err := s.client.CompleteMultipartUpload(ctx, st.input())
	if err != nil {
		return st.refused(ctx, s.failure(ctx, what, err))
	}
	info := objects.InfoOf(st.o)
	if got, told := readSum(out.ChecksumCRC32C); told && got == st.sum && !s.options.NoChecksum {
		info.Checksum = formatSum(st.sum)
		st.info = &info
		return nil
	}
	return st.verify(ctx, info)
}

func (st *staged) input() *awss3.CompleteMultipartUploadInput {
	s := st.store
	in := &awss3.CompleteMultipartUploadInput{
		Bucket: &s.options.Bucket, Key: aws.String(s.full(st.o.Key)), UploadId: &st.id, IfNoneMatch: aws.String("*"),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: st.parts}, RequestPayer: s.payer(),
	}
	if !s.options.NoChecksum {
		in.ChecksumType, in.ChecksumCRC32C, in.MpuObjectSize = types.ChecksumTypeFullObject, wireSum(st.sum), &st.o.Size
	}
	return in
}

// verify looks at what stands there when a yes said too little.
func (st *staged) verify(ctx context.Context, info backend.Info) error {
	found, err := st.store.head(ctx, st.o.Key)
	if err != nil {
		return err
	}
	if !found.Owned || found.Size != info.Size || !maps.Equal(found.Meta, info.Meta) ||
		found.Checksum != "" && !st.store.options.NoChecksum && found.Checksum != formatSum(st.sum) {
		return fmt.Errorf("commit %q: the store said yes, but what is there is another object of %d bytes: %w", string(st.o.Key), found.Size, backend.ErrExist)
	}
	info.Checksum = found.Checksum
	st.info = &info
	return nil
}

// refused decides the answers after which the upload cannot be completed any
// more.
func (st *staged) refused(ctx context.Context, err error) error {
	s, k := st.store, st.o.Key
	if !errors.Is(err, errConflict) {
		return err
	}
	err = s.conflict(ctx, k, err)
	if errors.Is(err, backend.ErrExist) {
		return err
	}
	// S3 wants a new upload after it; nobody has the key.
	if e := s.AbortUpload(ctx, backend.Upload{Key: k, ID: st.id}); e != nil {
		return e
	}
	return fmt.Errorf("commit %q: the store met another writer and wants the object sent again: %w", string(k), backend.ErrGone)
}

// Abort gives the parts up.
func (st *staged) Abort(ctx context.Context) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.info != nil {
		return nil
	}
	return st.store.AbortUpload(ctx, backend.Upload{Key: st.o.Key, ID: st.id})
}

func (s *Store) logAbandoned(k backend.Key, id string, err error) {
	s.log.Warn("an upload that failed could not be aborted, gc will find it",
		slog.String("key", string(k)), slog.String("upload", id), slog.Any("error", err))
}

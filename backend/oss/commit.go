package oss

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"

	aliyun "github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

// staged is an upload whose parts are all there.
type staged struct {
	store *Store
	o     backend.Object
	id    string
	parts []aliyun.UploadPart
	sum   uint64

	mu   sync.Mutex // held during a call: one at a time
	info *backend.Info
}

// Commit completes the upload with one request.
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
	header, err := st.completeOnce(ctx, what)
	if errors.Is(err, backend.ErrGone) {
		// Parts that are not as they were sent do not become so: what is left
		// of the upload goes too.
		return errors.Join(err, s.AbortUpload(ctx, backend.Upload{Key: st.o.Key, ID: st.id}))
	}
	if err != nil {
		return err
	}
	s.noteVersions(header)
	info := objects.InfoOf(st.o)
	got, told := readSum(header)
	switch {
	case told && got == st.sum:
		info.Checksum = formatSum(st.sum)
		st.info = &info
		return nil
	case told:
		// Every part was verified, so this was somebody else's doing.
		return s.takeBack(ctx, what, st.o.Key, header, st.sum)
	}
	return st.verify(ctx, info)
}

func (st *staged) completeOnce(ctx context.Context, what string) (http.Header, error) {
	s := st.store
	return s.call(ctx, what, func(options []aliyun.Option) error {
		// The SDK sorts what it is given.
		_, err := s.bucket.CompleteMultipartUpload(s.name(st.o.Key, st.id), slices.Clone(st.parts), options...)
		return err
	}, aliyun.ForbidOverWrite(true))
}

// verify looks at what stands there when a yes said too little.
func (st *staged) verify(ctx context.Context, info backend.Info) error {
	found, err := st.store.head(ctx, st.o.Key)
	if err != nil {
		return err
	}
	if !found.Owned || found.Size != info.Size || !maps.Equal(found.Meta, info.Meta) || found.Checksum != "" && found.Checksum != formatSum(st.sum) {
		return fmt.Errorf("commit %q: the store said yes, but what is there is another object of %d bytes: %w", string(st.o.Key), found.Size, backend.ErrExist)
	}
	info.Checksum = found.Checksum
	st.info = &info
	return nil
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

package oss

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	aliyun "github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

// inMemory is the size up to which a body is read before it is sent.
const inMemory = 256 << 10

// payload is a body ready to be sent. Its checksum is taken on the way.
type payload struct {
	body   io.Reader
	source *objects.Source // nil when it is in memory

	mu   sync.Mutex // the transport may still read when a call has failed
	hash objects.Hash
}

// Read implements io.Reader for a body that is not in memory.
func (p *payload) Read(to []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, err := p.source.Read(to)
	_, _ = p.hash.Write(to[:n]) // a hash takes all
	return n, err
}

// sum is the checksum of what was read so far.
func (p *payload) sum() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hash.Value
}

func openPayload(o backend.Object) (*payload, error) {
	if o.Size <= inMemory {
		body, err := objects.ReadAll(o)
		if err != nil {
			return nil, err
		}
		return &payload{body: bytes.NewReader(body), hash: objects.Hash{Sum: crc{}, Value: crc{}.Update(0, body)}}, nil
	}
	src, err := objects.OpenSource(o)
	if err != nil {
		return nil, err
	}
	p := &payload{source: src, hash: objects.Hash{Sum: crc{}}}
	// Of this kind of reader the SDK knows the length.
	p.body = &io.LimitedReader{R: p, N: o.Size}
	return p, nil
}

// Put publishes an object with one request that must not overwrite.
func (s *Store) Put(ctx context.Context, o backend.Object) (backend.Info, error) {
	what := fmt.Sprintf("put %q", string(o.Key))
	if err := s.acceptable(ctx, o); err != nil {
		return backend.Info{}, err
	}
	body, err := openPayload(o)
	if err != nil {
		return backend.Info{}, fmt.Errorf("%s: %w", what, err)
	}
	defer func() { _ = body.source.Close() }() // it was only read
	if err := s.lookBefore(ctx, o.Key); err != nil {
		return backend.Info{}, err
	}
	header, err := s.putOnce(ctx, what, o, body)
	if e := body.source.Err(); e != nil {
		return backend.Info{}, fmt.Errorf("%s: %w", what, e)
	}
	if err != nil {
		return backend.Info{}, err
	}
	info := objects.InfoOf(o)
	sum, told := readSum(header)
	if !told {
		return backend.Info{}, notAnswered(what)
	}
	if info.Checksum = formatSum(sum); sum != body.sum() {
		return backend.Info{}, s.takeBack(ctx, what, o.Key, header, body.sum())
	}
	return info, nil
}

func (s *Store) putOnce(ctx context.Context, what string, o backend.Object, body *payload) (http.Header, error) {
	header, err := s.call(ctx, what, func(options []aliyun.Option) error {
		return s.bucket.PutObject(s.full(o.Key), body.body, options...)
	}, s.objectOptions(o, aliyun.ForbidOverWrite(true))...)
	if err == nil {
		s.noteVersions(header)
	}
	return header, err
}

// takeBack removes an object that this call made and that came out wrong. The
// caller sends it again.
func (s *Store) takeBack(ctx context.Context, what string, k backend.Key, header http.Header, sent uint64) error {
	err := s.remove(ctx, k, header.Get("X-Oss-Version-Id"))
	said, _ := readSum(header)
	wrong := fmt.Errorf("%s: the store says its checksum is %s, %s was sent: %w", what, formatSum(said), formatSum(sent), backend.ErrTransient)
	return errors.Join(wrong, err)
}

// acceptable refuses what no request should be made for.
func (s *Store) acceptable(ctx context.Context, o backend.Object) error {
	if err := o.Validate(s.props.MaxKey); err != nil {
		return err
	}
	if err := s.valid(o.Key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put %q: %w", string(o.Key), context.Cause(ctx))
	}
	return nil
}

// objectOptions are what an object is made with.
func (s *Store) objectOptions(o backend.Object, more ...aliyun.Option) []aliyun.Option {
	options := more
	for k, v := range objects.Metadata(o) {
		options = append(options, aliyun.Meta(k, v))
	}
	if s.options.SSE != "" {
		options = append(options, aliyun.ServerSideEncryption(s.options.SSE))
	}
	if s.options.KMSKey != "" {
		options = append(options, aliyun.ServerSideEncryptionKeyID(s.options.KMSKey))
	}
	if s.options.StorageClass != "" {
		options = append(options, aliyun.ObjectStorageClass(aliyun.StorageClassType(s.options.StorageClass)))
	}
	if s.options.Tags != "" {
		options = append(options, aliyun.SetHeader(aliyun.HTTPHeaderOssTagging, s.options.Tags))
	}
	return options
}

// lookBefore is the condition of a bucket that heeds none.
func (s *Store) lookBefore(ctx context.Context, k backend.Key) error {
	if s.createOnly(ctx) {
		return nil
	}
	return objects.Vacant(ctx, k, s.head)
}

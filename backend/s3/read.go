package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

// Stat asks for the object, and when there is none whether anything is below.
func (s *Store) Stat(ctx context.Context, k backend.Key) (backend.Info, error) {
	if err := k.Validate(s.props.MaxKey); err != nil && k != "" {
		return backend.Info{}, err
	}
	return s.lister.Stat(ctx, k, s.head)
}

// head asks for an object alone.
func (s *Store) head(ctx context.Context, k backend.Key) (backend.Info, error) {
	in := &awss3.HeadObjectInput{Bucket: &s.options.Bucket, Key: aws.String(s.full(k)), RequestPayer: s.payer()}
	if !s.options.NoChecksum {
		in.ChecksumMode = types.ChecksumModeEnabled
	}
	out, err := objects.Retry(ctx, func() (*awss3.HeadObjectOutput, error) {
		out, err := s.client.HeadObject(ctx, in)
		if err != nil {
			return nil, s.failure(ctx, fmt.Sprintf("stat %q", string(k)), err)
		}
		return out, isAnswer(fmt.Sprintf("stat %q", string(k)), out.ETag)
	})
	if err != nil {
		return backend.Info{}, err
	}
	info := backend.Info{Key: k, Size: aws.ToInt64(out.ContentLength), ModTime: aws.ToTime(out.LastModified).UTC()}
	if sum, told := readSum(out.ChecksumCRC32C); told && out.ChecksumType != types.ChecksumTypeComposite {
		info.Checksum = formatSum(sum)
	}
	objects.ReadMetadata(out.Metadata, &info)
	return info, nil
}

// isAnswer is an error when a yes lacks what S3 always says with it: then
// somebody else gave it, a proxy or a web server, and nothing was done.
func isAnswer(what string, always *string) error {
	if aws.ToString(always) != "" {
		return nil
	}
	return fmt.Errorf("%s: this yes is not one of S3, look what answers at store.s3.endpoint: %w", what, backend.ErrTransient)
}

// Open reads a range of an object.
func (s *Store) Open(ctx context.Context, k backend.Key, off, n int64) (io.ReadCloser, error) {
	if err := k.Validate(s.props.MaxKey); err != nil {
		return nil, err
	}
	if n == 0 {
		_, err := s.head(ctx, k)
		return io.NopCloser(strings.NewReader("")), err // nothing of it is asked for
	}
	in := &awss3.GetObjectInput{Bucket: &s.options.Bucket, Key: aws.String(s.full(k)), RequestPayer: s.payer()}
	switch {
	case n > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", off, off+n-1))
	case off > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", off))
	}
	out, err := objects.Retry(ctx, func() (*awss3.GetObjectOutput, error) {
		out, err := s.client.GetObject(ctx, in)
		if err != nil {
			return nil, s.failure(ctx, fmt.Sprintf("open %q", string(k)), err)
		}
		if err := isAnswer(fmt.Sprintf("open %q", string(k)), out.ETag); err != nil {
			_ = out.Body.Close() // it is nothing of ours
			return nil, err
		}
		return out, nil
	})
	switch {
	case errors.Is(err, errRange):
		return io.NopCloser(strings.NewReader("")), nil
	case err != nil:
		return nil, err
	case in.Range != nil && out.ContentRange == nil && off > 0:
		_ = out.Body.Close() // it is not what was asked for
		return nil, fmt.Errorf("open %q: the store does not serve ranges of objects: %w", string(k), backend.ErrUnsupported)
	}
	return &reader{ctx, s, k, out.Body}, nil
}

// reader gives the errors of a connection their kind.
type reader struct {
	ctx  context.Context //nolint:containedctx // it ends the reads of one call
	s    *Store
	k    backend.Key
	body io.ReadCloser
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.s.failure(r.ctx, fmt.Sprintf("read %q", string(r.k)), err)
	}
	return n, err
}

// Close implements io.Closer.
func (r *reader) Close() error { return r.body.Close() }

// Delete removes an object. S3 says yes to any key, so it looks first.
func (s *Store) Delete(ctx context.Context, k backend.Key) error {
	if err := k.Validate(s.props.MaxKey); err != nil {
		return err
	}
	if _, err := s.head(ctx, k); err != nil {
		return err
	}
	return s.remove(ctx, k, "")
}

// remove removes one version; "" is what is seen, where a bucket with versions
// keeps the object behind a mark.
func (s *Store) remove(ctx context.Context, k backend.Key, version string) error {
	in := &awss3.DeleteObjectInput{Bucket: &s.options.Bucket, Key: aws.String(s.full(k)), RequestPayer: s.payer()}
	if version != "" {
		in.VersionId = &version
	}
	if _, err := s.client.DeleteObject(ctx, in); err != nil {
		return s.failure(ctx, fmt.Sprintf("delete %q", string(k)), err)
	}
	return nil
}

package oss

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	aliyun "github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

// Stat asks for the object, and when there is none whether anything is below.
func (s *Store) Stat(ctx context.Context, k backend.Key) (backend.Info, error) {
	if err := s.valid(k); err != nil && k != "" {
		return backend.Info{}, err
	}
	return s.lister.Stat(ctx, k, s.head)
}

// head asks for an object alone.
func (s *Store) head(ctx context.Context, k backend.Key) (backend.Info, error) {
	what := fmt.Sprintf("stat %q", string(k))
	header, err := objects.Retry(ctx, func() (http.Header, error) {
		header, err := s.call(ctx, what, func(options []aliyun.Option) error {
			_, err := s.bucket.GetObjectDetailedMeta(s.full(k), options...)
			return err
		})
		if err == nil && header.Get("Etag") == "" {
			err = notAnswered(what)
		}
		return header, err
	})
	if err != nil {
		return backend.Info{}, err
	}
	info := backend.Info{Key: k}
	if info.Size, err = strconv.ParseInt(header.Get("Content-Length"), 10, 64); err != nil {
		return backend.Info{}, notAnswered(what)
	}
	if at, err := http.ParseTime(header.Get("Last-Modified")); err == nil {
		info.ModTime = at.UTC()
	}
	if sum, told := readSum(header); told {
		info.Checksum = formatSum(sum)
	}
	objects.ReadMetadata(metadataOf(header), &info)
	return info, nil
}

// metadataOf picks the user metadata out of the header of an answer.
func metadataOf(h http.Header) map[string]string {
	m := map[string]string{}
	for name, values := range h {
		if key, ok := strings.CutPrefix(name, aliyun.HTTPHeaderOssMetaPrefix); ok && len(values) > 0 {
			m[strings.ToLower(key)] = values[0]
		}
	}
	return m
}

// Open reads a range of an object.
func (s *Store) Open(ctx context.Context, k backend.Key, off, n int64) (io.ReadCloser, error) {
	if err := s.valid(k); err != nil {
		return nil, err
	}
	if n == 0 {
		_, err := s.head(ctx, k)
		return io.NopCloser(strings.NewReader("")), err // nothing of it is asked for
	}
	r := &reader{ctx: ctx, s: s, k: k, left: -1}
	ranged := n > 0 || off > 0
	if err := r.open(off, n, ranged); err != nil {
		if errors.Is(err, errRange) {
			return io.NopCloser(strings.NewReader("")), nil
		}
		return nil, err
	}
	return r, nil
}

// reader gives the errors of a connection their kind, and compares the
// checksum of an object that is read as a whole.
type reader struct {
	ctx  context.Context //nolint:containedctx // it ends the reads of one call
	s    *Store
	k    backend.Key
	body io.ReadCloser
	left int64 // of the whole object, -1 when only a part is read
	want uint64
	hash objects.Hash
}

// notAnswered is the error of a yes that lacks what OSS always says with it:
// somebody else gave it, a proxy or a web server, and nothing was done.
func notAnswered(what string) error {
	return fmt.Errorf("%s: this yes is not one of OSS, look what answers at store.oss.endpoint: %w", what, backend.ErrTransient)
}

func (r *reader) open(off, n int64, ranged bool) error {
	what := fmt.Sprintf("open %q", string(r.k))
	var options []aliyun.Option
	if ranged {
		// Otherwise a range that ends behind the object is answered with all
		// of it.
		options = append(options, aliyun.RangeBehavior("standard"))
		if n > 0 {
			options = append(options, aliyun.Range(off, off+n-1))
		} else {
			options = append(options, aliyun.NormalizedRange(fmt.Sprintf("%d-", off)))
		}
	}
	header, err := objects.Retry(r.ctx, func() (http.Header, error) {
		header, err := r.s.call(r.ctx, what, func(common []aliyun.Option) (err error) {
			r.body, err = r.s.bucket.GetObject(r.s.full(r.k), common...)
			return err
		}, options...)
		if err == nil && header.Get("Etag") == "" {
			_ = r.body.Close() // it is nothing of ours
			err = notAnswered(what)
		}
		return header, err
	})
	if err != nil {
		return err
	}
	if ranged && off > 0 && header.Get("Content-Range") == "" {
		_ = r.body.Close() // it is not what was asked for
		return fmt.Errorf("%s: the store does not serve ranges of objects: %w", what, backend.ErrUnsupported)
	}
	size, sizeErr := strconv.ParseInt(header.Get("Content-Length"), 10, 64)
	if sum, told := readSum(header); told && sizeErr == nil && header.Get("Content-Range") == "" {
		r.left, r.want, r.hash = size, sum, objects.Hash{Sum: crc{}}
	}
	return nil
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	if r.left >= 0 {
		_, _ = r.hash.Write(p[:n]) // a hash takes all
		if r.left -= int64(n); r.left == 0 && r.hash.Value != r.want {
			return 0, fmt.Errorf("read %q: its checksum is %s, the store says %s, the bytes changed on their way: %w",
				string(r.k), formatSum(r.hash.Value), formatSum(r.want), backend.ErrTransient)
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.s.failure(r.ctx, fmt.Sprintf("read %q", string(r.k)), err, nil)
	}
	return n, err
}

// Close implements io.Closer.
func (r *reader) Close() error { return r.body.Close() }

// Delete removes an object. OSS says yes to any key, so it looks first.
func (s *Store) Delete(ctx context.Context, k backend.Key) error {
	if err := s.valid(k); err != nil {
		return err
	}
	if _, err := s.head(ctx, k); err != nil {
		return err
	}
	return s.remove(ctx, k, "")
}

// remove removes an object, or one version of it so that none is left.
func (s *Store) remove(ctx context.Context, k backend.Key, version string) error {
	var options []aliyun.Option
	if version != "" {
		options = append(options, aliyun.VersionId(version))
	}
	_, err := s.call(ctx, fmt.Sprintf("delete %q", string(k)), func(common []aliyun.Option) error {
		return s.bucket.DeleteObject(s.full(k), common...)
	}, options...)
	return err
}

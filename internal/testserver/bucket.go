package testserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Client is a client of a server that knows nothing of sinkfs.
func (s *Server) Client() *awss3.Client {
	return awss3.New(awss3.Options{
		BaseEndpoint: &s.URL, UsePathStyle: true, Region: Region,
		Credentials: s,
	})
}

// Bucket is a bucket as another client has it.
type Bucket struct {
	Name   string
	Client *awss3.Client
	server *Server
}

// NewBucket makes a bucket.
func (s *Server) NewBucket(tb testing.TB, name string) *Bucket {
	tb.Helper()
	b, err := s.MakeBucket(tb.Context(), name)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// MakeBucket is NewBucket outside of tests.
func (s *Server) MakeBucket(ctx context.Context, name string) (*Bucket, error) {
	b := &Bucket{name, s.Client(), s}
	_, err := b.Client.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: &name})
	return b, err
}

// Size is that of an object, -1 while there is none.
func (b *Bucket) Size(ctx context.Context, key string) (size int64, err error) {
	size = -1
	err = b.List(ctx, key, func(o types.Object) error {
		if *o.Key == key {
			size = *o.Size
		}
		return nil
	})
	return size, err
}

// URL is the endpoint of the server.
func (b *Bucket) URL() string { return b.server.URL }

// Kind is which server it is on.
func (b *Bucket) Kind() Kind { return b.server.Kind }

// List calls fn for each object below the prefix.
func (b *Bucket) List(ctx context.Context, prefix string, fn func(o types.Object) error) error {
	pages := awss3.NewListObjectsV2Paginator(b.Client, &awss3.ListObjectsV2Input{Bucket: &b.Name, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, o := range page.Contents {
			if err := fn(o); err != nil {
				return err
			}
		}
	}
	return nil
}

// Read is the body of an object; fs.ErrNotExist where there is none.
func (b *Bucket) Read(ctx context.Context, key string) ([]byte, error) {
	out, err := b.Client.GetObject(ctx, &awss3.GetObjectInput{Bucket: &b.Name, Key: &key})
	if gone := new(types.NoSuchKey); errors.As(err, &gone) {
		return nil, fmt.Errorf("%q: %w", key, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	return io.ReadAll(out.Body)
}

// Uploads is how many were begun in all of the bucket and neither completed
// nor aborted. MinIO lists those of an exact key only: it is asked for each
// key that an object has, and what is on its disk counts too.
func (b *Bucket) Uploads(ctx context.Context) (int, error) {
	if b.server.Kind.Name != MinIO.Name {
		return b.uploads(ctx, "")
	}
	n := 0
	err := b.List(ctx, "", func(o types.Object) error {
		more, err := b.uploads(ctx, aws.ToString(o.Key))
		n += more
		return err
	})
	if err != nil {
		return 0, err
	}
	// One directory per key, in it one per upload.
	held, err := filepath.Glob(filepath.Join(b.server.Dir, "data", ".minio.sys", "multipart", "*", "*", "xl.meta"))
	return max(n, len(held)), err
}

func (b *Bucket) uploads(ctx context.Context, prefix string) (n int, err error) {
	pages := awss3.NewListMultipartUploadsPaginator(b.Client, &awss3.ListMultipartUploadsInput{Bucket: &b.Name, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, err
		}
		n += len(page.Uploads)
	}
	return n, nil
}

package testserver_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sinkfs/sinkfs/internal/testserver"
)

func TestBucket(t *testing.T) {
	testserver.Each(t, func(t *testing.T, s *testserver.Server) {
		b, ctx := s.NewBucket(t, "logs"), t.Context()
		if _, err := b.Client.PutObject(ctx, &awss3.PutObjectInput{Bucket: &b.Name, Key: aws.String("a/b"), Body: strings.NewReader("x")}); err != nil {
			t.Fatal(err)
		}
		var keys []string
		err := b.List(ctx, "a/", func(o types.Object) error { keys = append(keys, *o.Key); return nil })
		if err != nil || len(keys) != 1 || keys[0] != "a/b" {
			t.Errorf("listed are %q, %v", keys, err)
		}
		if body, err := b.Read(ctx, "a/b"); err != nil || string(body) != "x" {
			t.Errorf("read is %q, %v", body, err)
		}
		if _, err := b.Read(ctx, "a/c"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("an object that is not there is %v", err)
		}
		uploads := func(want int) {
			t.Helper()
			if n, err := b.Uploads(ctx); err != nil || n != want {
				t.Errorf("%d uploads, %v, want %d", n, err, want)
			}
		}
		uploads(0)
		var begun []*awss3.CreateMultipartUploadOutput
		for _, key := range []string{"a/b", "a/b", "a/c"} { // one at a key without an object
			out, err := b.Client.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: &b.Name, Key: &key})
			if err != nil {
				t.Fatal(err)
			}
			begun = append(begun, out)
		}
		uploads(3)
		for _, u := range begun {
			if _, err := b.Client.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &b.Name, Key: u.Key, UploadId: u.UploadId}); err != nil {
				t.Fatal(err)
			}
		}
		uploads(0)
	})
}

package s3

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

// List tells the children of a directory in the order of their names, a page
// of keys at a time.
func (s *Store) List(ctx context.Context, dir backend.Key, after string, fn func(string, backend.Info) error) error {
	if dir != "" {
		if err := dir.Validate(s.props.MaxKey); err != nil {
			return err
		}
	}
	return s.lister.List(ctx, dir, after, fn)
}

// listPage reads one page for the lister, which repeats it.
func (s *Store) listPage(ctx context.Context, q objects.Query) (objects.Page, error) {
	in := &awss3.ListObjectsV2Input{
		Bucket: &s.options.Bucket, EncodingType: types.EncodingTypeUrl, RequestPayer: s.payer(),
		Prefix: &q.Prefix, ContinuationToken: optional(q.Token), StartAfter: optional(q.After),
	}
	if q.Limit > 0 {
		in.MaxKeys = aws.Int32(int32(q.Limit))
	}
	if !q.Flat {
		in.Delimiter = aws.String("/")
	}
	out, err := s.client.ListObjectsV2(ctx, in)
	if err != nil {
		return objects.Page{}, s.failure(ctx, fmt.Sprintf("list %q", strings.TrimPrefix(q.Prefix, s.prefix)), err)
	}
	if err := isAnswer("list", out.Name); err != nil {
		return objects.Page{}, err
	}
	page := objects.Page{Objects: make([]objects.Entry, 0, len(out.Contents))}
	if aws.ToBool(out.IsTruncated) {
		page.Next = aws.ToString(out.NextContinuationToken)
	}
	for _, o := range out.Contents {
		page.Objects = append(page.Objects, objects.Entry{
			Key: decodeKey(o.Key, out.EncodingType), Size: aws.ToInt64(o.Size), ModTime: aws.ToTime(o.LastModified),
		})
	}
	for _, p := range out.CommonPrefixes {
		page.Dirs = append(page.Dirs, decodeKey(p.Prefix, out.EncodingType))
	}
	return page, nil
}

// decodeKey reads a key of a listing. XML cannot carry all of them, so they
// come in the coding of URLs.
func decodeKey(k *string, coding types.EncodingType) string {
	text := aws.ToString(k)
	if coding != types.EncodingTypeUrl {
		return text
	}
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return text
}

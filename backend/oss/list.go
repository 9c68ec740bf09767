package oss

import (
	"context"
	"fmt"
	"strings"

	aliyun "github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

// pageSize is the most entries of a page; OSS gives 100 unless asked.
const pageSize = 1000

// List tells the children of a directory in the order of their names, a page
// of keys at a time.
func (s *Store) List(ctx context.Context, dir backend.Key, after string, fn func(string, backend.Info) error) error {
	if dir != "" {
		if err := s.valid(dir); err != nil {
			return err
		}
	}
	return s.lister.List(ctx, dir, after, fn)
}

// listPage reads one page for the lister, which repeats it.
func (s *Store) listPage(ctx context.Context, q objects.Query) (objects.Page, error) {
	options := []aliyun.Option{aliyun.Prefix(q.Prefix), aliyun.MaxKeys(pageSize)}
	if q.Limit > 0 {
		options[1] = aliyun.MaxKeys(q.Limit)
	}
	if !q.Flat {
		options = append(options, aliyun.Delimiter("/"))
	}
	if q.Token != "" {
		options = append(options, aliyun.ContinuationToken(q.Token))
	} else if q.After != "" {
		options = append(options, aliyun.StartAfter(q.After))
	}
	var out aliyun.ListObjectsResultV2
	what := fmt.Sprintf("list %q", strings.TrimPrefix(q.Prefix, s.prefix))
	if _, err := s.call(ctx, what, func(common []aliyun.Option) (err error) {
		out, err = s.bucket.ListObjectsV2(common...)
		return err
	}, options...); err != nil {
		return objects.Page{}, err
	}
	page := objects.Page{Objects: make([]objects.Entry, 0, len(out.Objects)), Dirs: out.CommonPrefixes}
	if out.IsTruncated {
		page.Next = out.NextContinuationToken
	}
	for _, o := range out.Objects {
		page.Objects = append(page.Objects, objects.Entry{Key: o.Key, Size: o.Size, ModTime: o.LastModified})
	}
	return page, nil
}

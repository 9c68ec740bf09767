package s3

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sinkfs/sinkfs/backend"
)

// child is one entry of a directory.
type child struct {
	name string
	info backend.Info
}

// byName is the order of names; of an object and a directory of one name the
// object comes first.
func byName(a, b child) int {
	if c := cmp.Compare(a.name, b.name); c != 0 || a.info.Dir == b.info.Dir {
		return c
	}
	if a.info.Dir {
		return 1
	}
	return -1
}

// List tells the children of a directory in the order of their names, a page
// of keys at a time.
func (s *Store) List(ctx context.Context, dir backend.Key, after string, fn func(string, backend.Info) error) error {
	if dir != "" {
		if err := dir.Validate(s.props.MaxKey); err != nil {
			return err
		}
	}
	l := &listing{s: s, dir: dir, after: after, known: map[string]bool{}}
	for !l.end {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("list %q: %w", string(dir), context.Cause(ctx))
		}
		ready, err := l.next(ctx)
		if err != nil {
			return err
		}
		for _, c := range ready {
			if err := fn(c.name, c.info); err != nil {
				return err
			}
		}
	}
	if l.found || dir == "" {
		return nil
	}
	if after != "" { // nothing behind it says nothing
		if isDir, err := s.isDir(ctx, dir); err != nil || isDir {
			return err
		}
	}
	return fmt.Errorf("list %q: %w", string(dir), backend.ErrNotExist)
}

// holdBack is the share of entries, at the end of a page, that rather wait for
// the next one than that a request is made for them: one in so many.
const holdBack = 10

// listing turns the order of keys into that of names. The two differ only
// where a directory "a" has a sibling "a-b", or any that goes on with a
// character below the slash: the key "a/" comes after it, the name before.
type listing struct {
	s     *Store
	dir   backend.Key
	after string

	token *string
	held  []child
	known map[string]bool // directories told ahead of their place
	found bool            // there is something in it
	end   bool
}

// next reads one page and returns what no later page can come before.
func (l *listing) next(ctx context.Context) ([]child, error) {
	page, err := l.read(ctx)
	if err != nil {
		return nil, err
	}
	all := append(l.held, page...) // in the order of keys
	l.held = nil
	if !l.end {
		if all, err = l.settle(ctx, all); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, byName)
	return all, nil
}

// settle asks for the directories that would come before the last entries of
// all, or holds those entries back where they are few.
func (l *listing) settle(ctx context.Context, all []child) ([]child, error) {
	if len(all) == 0 {
		return all, nil
	}
	last := all[len(all)-1].name
	keep := len(all)
	for i := len(last) - 1; i > 0; i-- { // the longest first, fewest go on with it
		if last[i] >= '/' {
			continue
		}
		name := last[:i]
		first := slices.IndexFunc(all, func(c child) bool { return strings.HasPrefix(c.name, name) && len(c.name) > i && c.name[i] < '/' })
		if len(all)-first <= len(all)/holdBack {
			keep = min(keep, first)
			continue
		}
		if _, asked := l.known[name]; asked || name <= l.after {
			continue
		}
		isDir, err := l.s.isDir(ctx, l.dir.Join(name))
		if err != nil {
			return nil, err
		}
		l.known[name] = isDir
		if isDir {
			all = slices.Insert(all, first, child{name, backend.Info{Key: l.dir.Join(name), Dir: true}})
			keep++
		}
	}
	l.held = slices.Clone(all[keep:])
	return all[:keep], nil
}

// read asks for one page.
func (l *listing) read(ctx context.Context) ([]child, error) {
	prefix := l.s.prefix
	if l.dir != "" {
		prefix = l.s.full(l.dir) + "/"
	}
	in := &awss3.ListObjectsV2Input{Prefix: &prefix, Delimiter: aws.String("/"), ContinuationToken: l.token}
	if l.token == nil && l.after != "" {
		in.StartAfter = aws.String(prefix + l.after)
	}
	out, err := l.s.list(ctx, in)
	if err != nil {
		return nil, err
	}
	l.token, l.end = out.NextContinuationToken, !aws.ToBool(out.IsTruncated) || out.NextContinuationToken == nil
	children := make([]child, 0, len(out.Contents)+len(out.CommonPrefixes))
	for _, o := range out.Contents {
		name := strings.TrimPrefix(decodeKey(o.Key, out.EncodingType), prefix)
		l.found = true
		if name == "" || l.dir == probeDir && name == probeName { // the mark of a directory; our own probe
			continue
		}
		children = append(children, child{name, backend.Info{
			Key: l.dir.Join(name), Size: aws.ToInt64(o.Size), ModTime: aws.ToTime(o.LastModified).UTC(),
		}})
	}
	for _, p := range out.CommonPrefixes {
		name := strings.TrimSuffix(strings.TrimPrefix(decodeKey(p.Prefix, out.EncodingType), prefix), "/")
		l.found = true
		if name != "" && !l.known[name] {
			children = append(children, child{name, backend.Info{Key: l.dir.Join(name), Dir: true}})
		}
	}
	children = slices.DeleteFunc(children, func(c child) bool { return c.name <= l.after || !possible(c.name) })
	slices.SortFunc(children, func(a, b child) int { return cmp.Compare(keyOf(a), keyOf(b)) })
	return children, nil
}

func keyOf(c child) string {
	if c.info.Dir {
		return c.name + "/"
	}
	return c.name
}

// possible tells names from what keys with empty or dotted elements imply:
// no path leads there.
func possible(name string) bool { return name != "." && name != ".." }

// isDir asks whether anything is below a key.
func (s *Store) isDir(ctx context.Context, k backend.Key) (bool, error) {
	out, err := s.list(ctx, &awss3.ListObjectsV2Input{Prefix: aws.String(s.full(k) + "/"), MaxKeys: aws.Int32(1)})
	if err != nil {
		return false, err
	}
	return len(out.Contents) > 0, nil
}

func (s *Store) list(ctx context.Context, in *awss3.ListObjectsV2Input) (*awss3.ListObjectsV2Output, error) {
	in.Bucket, in.EncodingType, in.RequestPayer = &s.options.Bucket, types.EncodingTypeUrl, s.payer()
	return retry(ctx, func() (*awss3.ListObjectsV2Output, error) {
		out, err := s.client.ListObjectsV2(ctx, in)
		if err != nil {
			err = s.failure(ctx, fmt.Sprintf("list %q", strings.TrimPrefix(aws.ToString(in.Prefix), s.prefix)), err)
		}
		return out, err
	})
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

package objects

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sinkfs/sinkfs/backend"
)

// Page is one page of a listing: full keys, in the store's order.
type Page struct {
	Objects []Entry
	Dirs    []string // common prefixes, with the slash at their end
	Next    string   // token of the next page, "" when this is the last
}

// Entry is one object of a listing.
type Entry struct {
	Key     string
	Size    int64
	ModTime time.Time
}

// Query asks for a page of what is directly below a prefix.
type Query struct {
	Prefix string // full, "" or with a slash at its end
	After  string // full key, of the first page
	Token  string // of later pages
	Limit  int    // 0 is the store's
	Flat   bool   // keys at any depth
}

// Lister reads listings of a store.
type Lister struct {
	Prefix string // of the target, "" or with a slash at its end
	Read   func(ctx context.Context, q Query) (Page, error)
	// Hidden names an object that is no finished file.
	Hidden backend.Key
}

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
// of keys at a time. It is backend.Store's List.
func (l *Lister) List(ctx context.Context, dir backend.Key, after string, fn func(string, backend.Info) error) error {
	run := &listing{l: l, dir: dir, after: after, known: map[string]bool{}}
	for !run.end {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("list %q: %w", string(dir), context.Cause(ctx))
		}
		ready, err := run.next(ctx)
		if err != nil {
			return err
		}
		for _, c := range ready {
			if err := fn(c.name, c.info); err != nil {
				return err
			}
		}
	}
	if run.found || dir == "" {
		return nil
	}
	if after != "" { // nothing behind it says nothing
		if isDir, err := l.IsDir(ctx, dir); err != nil || isDir {
			return err
		}
	}
	return fmt.Errorf("list %q: %w", string(dir), backend.ErrNotExist)
}

// IsDir asks whether anything is below a key.
func (l *Lister) IsDir(ctx context.Context, k backend.Key) (bool, error) {
	page, err := l.read(ctx, Query{Prefix: l.Prefix + string(k) + "/", Limit: 1, Flat: true})
	return len(page.Objects) > 0, err
}

func (l *Lister) read(ctx context.Context, q Query) (Page, error) {
	return Retry(ctx, func() (Page, error) { return l.Read(ctx, q) })
}

// holdBack is the share of entries, at the end of a page, that rather wait for
// the next one than that a request is made for them: one in so many.
const holdBack = 10

// listing turns the order of keys into that of names. The two differ only
// where a directory "a" has a sibling "a-b", or any that goes on with a
// character below the slash: the key "a/" comes after it, the name before.
type listing struct {
	l     *Lister
	dir   backend.Key
	after string

	token string
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
		isDir, err := l.l.IsDir(ctx, l.dir.Join(name))
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
	q := Query{Prefix: l.l.Prefix, Token: l.token}
	if l.dir != "" {
		q.Prefix += string(l.dir) + "/"
	}
	if l.token == "" && l.after != "" {
		q.After = q.Prefix + l.after
	}
	page, err := l.l.read(ctx, q)
	if err != nil {
		return nil, err
	}
	l.token, l.end = page.Next, page.Next == ""
	children := make([]child, 0, len(page.Objects)+len(page.Dirs))
	for _, o := range page.Objects {
		name := strings.TrimPrefix(o.Key, q.Prefix)
		l.found = true
		if k := l.dir.Join(name); name != "" && k != l.l.Hidden { // "" is the mark of a directory
			children = append(children, child{name, backend.Info{Key: k, Size: o.Size, ModTime: o.ModTime.UTC()}})
		}
	}
	for _, p := range page.Dirs {
		name := strings.TrimSuffix(strings.TrimPrefix(p, q.Prefix), "/")
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

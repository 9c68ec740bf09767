// Package mem is a store in memory, for tests: it behaves as an object store
// does, with directories that only names imply, and fails where it is told.
package mem

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sinkfs/sinkfs/backend"
)

// Op is a method of the store, as a Hook sees it.
type Op string

// The operations. Staging and what follows it carry the key of the object.
const (
	Check  Op = "check"
	Put    Op = "put"
	Stage  Op = "stage"
	Grow   Op = "grow"
	Append Op = "append"
	Commit Op = "commit"
	Abort  Op = "abort"
	Stat   Op = "stat"
	Open   Op = "open"
	List   Op = "list"
	Delete Op = "delete"
)

// Hook may block, count, or return an error that the operation then returns.
type Hook func(ctx context.Context, op Op, k backend.Key) error

// Options of a store.
type Options struct {
	Properties backend.Properties // zero fields are filled in
	// Before runs ahead of each operation: its error means that nothing
	// happened. After runs behind those that succeeded: its error is a lost
	// answer. Both may be nil.
	Before, After Hook
	// Unit makes it a store that takes growing objects, in pieces of this.
	Unit int64
}

// Store is a target in memory.
type Store struct {
	options Options

	mu      sync.Mutex
	objects map[backend.Key]object
	staged  map[*staged]bool
	begun   int // growing objects, ever
}

type object struct {
	info backend.Info
	body []byte
}

var (
	_ backend.Store        = (*Store)(nil)
	_ backend.Grower       = (*Store)(nil)
	_ backend.UploadLister = (*Store)(nil)
)

// New returns an empty store.
func New(o Options) *Store {
	p := &o.Properties
	if p.URL == "" {
		p.URL = "mem:///"
	}
	if p.Identity == "" {
		p.Identity = p.URL
	}
	if p.MaxKey == 0 {
		p.MaxKey = 1023
	}
	if p.Parallel == 0 {
		p.Parallel = 8
	}
	p.CreateOnly, p.Grows = true, o.Unit > 0
	return &Store{options: o, objects: map[backend.Key]object{}, staged: map[*staged]bool{}}
}

// Properties returns those of the options.
func (s *Store) Properties() backend.Properties { return s.options.Properties }

// Objects returns the bodies of all objects.
func (s *Store) Objects() map[backend.Key][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[backend.Key][]byte, len(s.objects))
	for k, o := range s.objects {
		all[k] = bytes.Clone(o.body)
	}
	return all
}

// Foreign places an object that sinkfs knows nothing of, over whatever is
// there.
func (s *Store) Foreign(k backend.Key, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	info := backend.Info{Key: k, Size: int64(len(body)), ModTime: time.Now().UTC()}
	s.objects[k] = object{info, bytes.Clone(body)}
}

// Staged counts the objects that are staged and neither committed nor
// aborted.
func (s *Store) Staged() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.staged)
}

// Expire forgets all that is staged, as a lifecycle rule of a bucket does.
func (s *Store) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.staged)
}

// run brackets an operation with the hooks.
func (s *Store) run(ctx context.Context, op Op, k backend.Key, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.options.Before != nil {
		if err := s.options.Before(ctx, op, k); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	if s.options.After != nil {
		return s.options.After(ctx, op, k)
	}
	return nil
}

// Check always succeeds, but for the hooks.
func (s *Store) Check(ctx context.Context) error {
	return s.run(ctx, Check, "", func() error { return nil })
}

// Put publishes an object.
func (s *Store) Put(ctx context.Context, o backend.Object) (backend.Info, error) {
	var info backend.Info
	err := s.run(ctx, Put, o.Key, func() error {
		made, err := s.read(ctx, o)
		if err != nil {
			return err
		}
		info = made.info
		return s.publish(made)
	})
	if err != nil {
		return backend.Info{}, err
	}
	return copyInfo(info), nil
}

func (s *Store) publish(o object) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.objects[o.info.Key]; taken {
		return fmt.Errorf("put %q: %w", string(o.info.Key), backend.ErrExist)
	}
	s.objects[o.info.Key] = o
	return nil
}

// read checks an object and takes its body in.
func (s *Store) read(ctx context.Context, o backend.Object) (object, error) {
	if err := o.Validate(s.options.Properties.MaxKey); err != nil {
		return object{}, err
	}
	body, err := o.Open()
	if err != nil {
		return object{}, fmt.Errorf("put %q: open the body: %w", string(o.Key), err)
	}
	defer body.Close()
	data, err := io.ReadAll(readerOf(ctx, body))
	if err != nil {
		return object{}, fmt.Errorf("put %q: read the body: %w", string(o.Key), err)
	}
	if int64(len(data)) != o.Size {
		return object{}, fmt.Errorf("put %q: the body has %d bytes, %d were announced", string(o.Key), len(data), o.Size)
	}
	return finished(o, data), nil
}

// finished is an object with its whole body.
func finished(o backend.Object, data []byte) object {
	mtime := o.ModTime
	if mtime.IsZero() {
		mtime = time.Now()
	}
	sum := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
	return object{body: data, info: copyInfo(backend.Info{
		Key: o.Key, Size: int64(len(data)), Checksum: fmt.Sprintf("crc32c:%08x", sum), Meta: o.Meta,
		Owned: true, Mode: o.Mode, UID: o.UID, GID: o.GID, ModTime: mtime.UTC(),
	})}
}

// copyInfo keeps callers from sharing a map with the store.
func copyInfo(i backend.Info) backend.Info {
	i.Meta = maps.Clone(i.Meta)
	return i
}

func readerOf(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(p)
	})
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Stat returns an object or an implied directory.
func (s *Store) Stat(ctx context.Context, k backend.Key) (backend.Info, error) {
	var info backend.Info
	err := s.run(ctx, Stat, k, func() error {
		if k == "" {
			info = backend.Info{Dir: true}
			return nil
		}
		if err := k.Validate(s.options.Properties.MaxKey); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		o, ok := s.objects[k]
		switch {
		case ok:
			info = copyInfo(o.info)
		case s.implied(k):
			info = backend.Info{Key: k, Dir: true}
		default:
			return fmt.Errorf("stat %q: %w", string(k), backend.ErrNotExist)
		}
		return nil
	})
	if err != nil {
		return backend.Info{}, err
	}
	return info, nil
}

func (s *Store) implied(dir backend.Key) bool {
	for k := range s.objects {
		if strings.HasPrefix(string(k), string(dir)+"/") {
			return true
		}
	}
	return false
}

// Open reads a range of an object.
func (s *Store) Open(ctx context.Context, k backend.Key, off, n int64) (io.ReadCloser, error) {
	var body []byte
	err := s.run(ctx, Open, k, func() error {
		if err := k.Validate(s.options.Properties.MaxKey); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		o, ok := s.objects[k]
		if !ok {
			return fmt.Errorf("open %q: %w", string(k), backend.ErrNotExist)
		}
		body = o.body
		return nil
	})
	if err != nil {
		return nil, err
	}
	size := int64(len(body))
	off = min(off, size)
	if n < 0 {
		n = math.MaxInt64 - off
	}
	return io.NopCloser(readerOf(ctx, bytes.NewReader(body[off:min(size, off+n)]))), nil
}

// List returns the children that the names of the objects imply.
func (s *Store) List(ctx context.Context, dir backend.Key, after string, fn func(string, backend.Info) error) error {
	return s.run(ctx, List, dir, func() error {
		if dir != "" {
			if err := dir.Validate(s.options.Properties.MaxKey); err != nil {
				return err
			}
		}
		children, found := s.children(dir)
		if !found && dir != "" {
			return fmt.Errorf("list %q: %w", string(dir), backend.ErrNotExist)
		}
		for _, child := range children {
			if err := ctx.Err(); err != nil {
				return err
			}
			_, name := child.Key.Split()
			if name <= after {
				continue
			}
			if err := fn(name, child); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Store) children(dir backend.Key) ([]backend.Info, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var children []backend.Info
	seen := map[backend.Key]bool{}
	for k, o := range s.objects {
		rest := string(k)
		if dir != "" {
			var below bool
			if rest, below = strings.CutPrefix(rest, string(dir)+"/"); !below {
				continue
			}
		}
		name, _, isDir := strings.Cut(rest, "/")
		child := backend.Info{Key: dir.Join(name), Dir: true}
		if !isDir {
			child = o.info
			child.Meta = nil
			children = append(children, child)
		} else if !seen[child.Key] {
			seen[child.Key] = true
			children = append(children, child)
		}
	}
	slices.SortFunc(children, func(a, b backend.Info) int {
		if c := strings.Compare(string(a.Key), string(b.Key)); c != 0 || a.Dir == b.Dir {
			return c
		}
		if a.Dir {
			return 1
		}
		return -1
	})
	return children, len(children) > 0
}

// Delete removes an object.
func (s *Store) Delete(ctx context.Context, k backend.Key) error {
	return s.run(ctx, Delete, k, func() error {
		if err := k.Validate(s.options.Properties.MaxKey); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, ok := s.objects[k]; !ok {
			return fmt.Errorf("delete %q: %w", string(k), backend.ErrNotExist)
		}
		delete(s.objects, k)
		return nil
	})
}

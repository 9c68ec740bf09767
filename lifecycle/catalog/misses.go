package catalog

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sinkfs/sinkfs/backend"
)

// Whoever makes many files in a directory looks each name up in vain first.
const (
	// manyMisses is how many names of a directory are asked for one by one
	// within MaxAge, before a listing of it is asked for instead.
	manyMisses = 3
	// missesListed is how much of a directory that listing takes: one request.
	missesListed = 999
	// missesDirs bounds the directories that are counted at a time.
	missesDirs = 256
)

// misses counts the names that were not there. The zero value is empty.
type misses struct {
	mu sync.Mutex
	of map[backend.Key]*dirMisses
}

type dirMisses struct {
	since time.Time
	n     int
}

// note counts a name of dir that was not there; the count begins anew when it
// began before since.
func (m *misses) note(dir backend.Key, now, since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.of[dir]
	if d == nil || d.since.Before(since) {
		if m.of == nil || len(m.of) >= missesDirs {
			m.of = map[backend.Key]*dirMisses{}
		}
		d = &dirMisses{since: now}
		m.of[dir] = d
	}
	d.n++
}

// often says whether many names of dir were not there, from since on.
func (m *misses) often(dir backend.Key, since time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.of[dir]
	return d != nil && d.n >= manyMisses && !d.since.Before(since)
}

// absent looks for k in a listing of its directory where many names were
// looked up in vain just now. It is true when k is certainly not there, as of
// MaxAge ago at most.
func (c *Catalog) absent(ctx context.Context, k backend.Key, now time.Time) bool {
	if c.listed(k, now) {
		return false
	}
	dir, _ := k.Split()
	since := now.Add(-c.o.MaxAge)
	_, err, known := c.looks.stat(k, since)
	if !known && c.looks.age(dir, now) > c.o.MaxAge && c.misses.often(dir, since.Add(-c.o.MaxAge)) {
		_, _ = c.looked.do(ctx, dir, func(ctx context.Context) (*listing, error) {
			return c.read(ctx, dir, missesListed)
		}, func(l *listing, err error) {
			if errors.Is(err, backend.ErrNotExist) {
				l, err = &listing{dir: dir, at: now}, nil // the mount has it alone
			}
			if err == nil {
				c.looks.put(l)
			}
		})
		_, err, known = c.looks.stat(k, since)
	}
	return known && errors.Is(err, backend.ErrNotExist)
}

package catalog

import (
	"container/list"
	"fmt"
	"sync"
	"time"

	"github.com/sinkfs/sinkfs/backend"
)

// maxEntries bounds the names that are remembered: a few MiB.
const maxEntries = 16 << 10

// entry is the last answer to Stat.
type entry struct {
	info   backend.Info
	absent bool
	until  time.Time
}

func (e entry) answer(k backend.Key) (backend.Info, error) {
	if e.absent {
		return backend.Info{}, fmt.Errorf("%q: %w", string(k), backend.ErrNotExist)
	}
	return e.info, nil
}

// entries keeps the most recently used answers. The zero value is empty.
type entries struct {
	mu    sync.Mutex
	m     map[backend.Key]*list.Element
	order list.List // of *named, the latest used in front
}

type named struct {
	key backend.Key
	entry
}

func (e *entries) get(k backend.Key) (entry, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := e.m[k]
	if at == nil {
		return entry{}, false
	}
	e.order.MoveToFront(at)
	return at.Value.(*named).entry, true //nolint:errcheck // nothing else is put in
}

func (e *entries) put(k backend.Key, n entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.drop(e.m[k])
	if e.m == nil {
		e.m = map[backend.Key]*list.Element{}
	}
	e.m[k] = e.order.PushFront(&named{k, n})
	if len(e.m) > maxEntries {
		e.drop(e.order.Back())
	}
}

func (e *entries) forget(k backend.Key) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.drop(e.m[k])
}

func (e *entries) drop(at *list.Element) {
	if at != nil {
		delete(e.m, e.order.Remove(at).(*named).key) //nolint:errcheck // nothing else is put in
	}
}

package lifecycle

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sinkfs/sinkfs/backend"
)

// health is what is known of the target.
type health struct {
	mu    sync.Mutex
	now   func() time.Time
	met   bool // it answered this process once
	state string
	since time.Time
	err   string
}

func (h *health) set(state, err string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state != state {
		h.state, h.since = state, h.now().UTC()
	}
	h.err = err
	h.met = h.met || state == "ok"
}

func (h *health) known() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.met
}

func (h *health) ok() { h.set("ok", "") }

func (h *health) failed(err error) {
	switch {
	case errors.Is(err, backend.ErrPermission), errors.Is(err, backend.ErrUnsupported):
		h.set("refused", err.Error())
	case errors.Is(err, backend.ErrTransient), errors.Is(err, context.DeadlineExceeded):
		h.set("down", err.Error())
	}
}

func (h *health) get() (state string, since time.Time, err string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state, h.since, h.err
}

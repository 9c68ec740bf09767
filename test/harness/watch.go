package harness

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Watcher looks at the target and at the mount as readers do, all the time: a
// name that is not finished, or a finished file that changes or goes, is a
// failure. It also knows what every file holds, to see whether a checkpoint
// that succeeded told the truth.
type Watcher struct {
	Target Shelf
	Mount  string
	// MountMayFail is set where the supervisor is killed: then nobody
	// answers for a while.
	MountMayFail bool

	mu      sync.Mutex
	objects map[string]Object
	listed  map[string]bool // seen in the mount
	seen    map[string]map[int]bool
	same    map[string]int
	wrong   []string
	looks   int
}

// NewWatcher makes one for a lab.
func NewWatcher(l *Lab) *Watcher {
	return &Watcher{
		Target: l.Shelf(), Mount: l.Mount,
		objects: map[string]Object{}, listed: map[string]bool{}, seen: map[string]map[int]bool{}, same: map[string]int{},
	}
}

// Run looks until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	for ctx.Err() == nil {
		begun := time.Now()
		w.Look(ctx)
		w.lookAtMount(ctx)
		Pass(ctx, max(20*time.Millisecond, time.Since(begun)/2)) // a reader is not all that a machine has to do
	}
}

// Wrong is what it has seen that must not be, and how often it looked.
func (w *Watcher) Wrong() (wrong []string, looks int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.wrong), w.looks
}

func (w *Watcher) say(format string, args ...any) {
	if len(w.wrong) < 50 {
		w.wrong = append(w.wrong, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

// Look looks at the target once.
func (w *Watcher) Look(ctx context.Context) {
	ctx, done := whole(ctx)
	defer done()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	found, err := w.Target.List(ctx)
	if err != nil {
		w.say("target: %v", err)
		return
	}
	for key, label := range found {
		old, known := w.objects[key]
		switch {
		case strings.HasPrefix(key, reserved): // the program's own; none may be left in the end
		case Unfinished(key):
			w.say("target shows %q", key)
		case known && label != old.Label:
			w.say("finished file %q was %v and is %v now", key, old.Label, label)
		case !known:
			w.first(ctx, key, label)
		}
	}
	for key := range w.objects {
		if _, there := found[key]; !there {
			w.say("finished file %q is gone", key)
			delete(w.objects, key)
		}
	}
}

// whole is the context of a look, which is never left half done.
func whole(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
}

// first notes a file at first sight.
func (w *Watcher) first(ctx context.Context, key string, label Label) {
	data, err := w.Target.Read(ctx, key)
	if errors.Is(err, fs.ErrNotExist) && w.Target.Glimpses() {
		return
	}
	if err != nil || int64(len(data)) != label.Size {
		w.say("finished file %q reads %d bytes of %d: %v", key, len(data), label.Size, err)
		return
	}
	w.objects[key] = Object{label, sha256.Sum256(data)}
	for line := range strings.Lines(string(data)) {
		writer, number, identical, ok := parse(strings.TrimSuffix(line, "\n"))
		switch {
		case !ok:
		case identical:
			w.same[writer]++
		case w.seen[writer][number]:
			w.say("record %d of %s is there again, in %q", number, writer, key)
		default:
			if w.seen[writer] == nil {
				w.seen[writer] = map[int]bool{}
			}
			w.seen[writer][number] = true
		}
	}
}

// lookAtMount lists the mount and reads what is new there.
func (w *Watcher) lookAtMount(ctx context.Context) {
	ctx, done := whole(ctx)
	defer done()
	found := map[string]bool{}
	err := walk(w.Mount, func(key string, info fs.FileInfo) error {
		found[key] = true
		return w.listedInMount(ctx, key, info)
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		if !w.MountMayFail {
			w.say("mount: %v", err)
		}
		return
	}
	if len(found) == 0 && w.MountMayFail {
		return // the bare mountpoint, between two mounts
	}
	for key := range w.listed {
		if !found[key] {
			w.say("finished file %q is gone from the mount", key)
			delete(w.listed, key)
		}
	}
}

// listedInMount compares a name of the mount with the target, where it may be
// newer than the last look there.
func (w *Watcher) listedInMount(ctx context.Context, key string, info fs.FileInfo) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	real, seen := w.objects[key]
	if !seen {
		data, err := w.Target.Read(ctx, key)
		if errors.Is(err, fs.ErrNotExist) && w.Target.Glimpses() {
			return nil
		}
		if err != nil {
			w.say("the mount shows %q, which is not finished: %v", key, err)
			return nil
		}
		real = Object{Label{Size: int64(len(data))}, sha256.Sum256(data)}
	}
	if info.Size() != real.Size {
		w.say("the mount shows %q with %d bytes, it has %d", key, info.Size(), real.Size)
	}
	if w.listed[key] {
		return nil
	}
	got, err := os.ReadFile(filepath.Join(w.Mount, key))
	if errors.Is(err, fs.ErrNotExist) && w.Target.Glimpses() {
		return nil // taken back, and there again: the mount may not know it for a second
	}
	if err != nil {
		return err
	}
	if w.listed[key] = true; sha256.Sum256(got) != real.sum {
		w.say("the mount reads %q otherwise than it is", key)
	}
	return nil
}

// Final looks once more and reads every file again.
func (w *Watcher) Final(ctx context.Context) {
	w.Look(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, old := range w.objects {
		data, err := w.Target.Read(ctx, key)
		if err != nil || sha256.Sum256(data) != old.sum {
			w.say("finished file %q changed: %v", key, err)
		}
	}
}

// Seen are the finished files that were seen so far, and what each is.
func (w *Watcher) Seen(ctx context.Context) map[string]Object {
	w.Look(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.objects)
}

// Same checks that another target has all those files, byte by byte: what a
// reader saw is the same for ever.
func (w *Watcher) Same(ctx context.Context, seen map[string]Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, old := range seen {
		data, err := w.Target.Read(ctx, key)
		if err != nil || sha256.Sum256(data) != old.sum {
			w.say("finished file %q is not what a reader saw: %v", key, err)
		}
	}
}

// Promised checks a checkpoint that succeeded: all that was acknowledged
// before it must be finished.
func (w *Watcher) Promised(ctx context.Context, before []Claim) {
	w.Look(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range before {
		if c.Kind == Same || c.Kind == SameKept {
			if got := w.same[c.ID]; got < len(c.Acked) {
				w.say("a checkpoint succeeded, but of %s only %d of %d identical records are finished", c.ID, got, len(c.Acked))
			}
			continue
		}
		var missing []int
		for _, number := range c.Acked {
			if !w.seen[c.ID][number] {
				missing = append(missing, number)
			}
		}
		if len(missing) > 0 {
			w.say("a checkpoint succeeded, but of %s (%s) records written before are not finished: %v", c.ID, c.Kind, first(missing))
		}
	}
}

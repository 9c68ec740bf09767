package lifecycle

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/mem"
)

// lab is a state directory whose journal is lost, again and again.
type lab struct {
	t     *testing.T
	store *mem.Store
	c     Config
	in    *Instance
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, store: mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 20}})}
	l.c = Config{StateDir: t.TempDir(), Store: l.store, Target: "mem://target", Retain: 2}
	l.open()
	t.Cleanup(func() { _ = l.in.Close() }) // it may be closed
	return l
}

func (l *lab) open() {
	l.t.Helper()
	var err error
	if l.in, err = Open(l.t.Context(), l.c); err != nil {
		l.t.Fatal(err)
	}
}

// append writes to a source as a program does that opens and closes it.
func (l *lab) append(name, text string) {
	l.t.Helper()
	a, err := l.in.Lookup(l.in.Root(), name)
	if err != nil {
		a, err = l.in.Create(l.in.Root(), name, 0o644, Caller{})
	}
	if err != nil {
		l.t.Fatal(err)
	}
	f, err := l.in.Descriptor(a.Ino, os.O_WRONLY|os.O_APPEND)
	if err != nil {
		l.t.Fatal(err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		l.t.Fatal(err)
	}
	if s := l.in.source(a.Ino); s != nil {
		s.touched = l.in.now() // it was open
	}
}

func (l *lab) checkpoint() {
	l.t.Helper()
	if _, err := l.in.checkpoint(l.t.Context(), Now); err != nil {
		l.t.Fatal(err)
	}
}

// commitOnly is a checkpoint of a process that dies before it notes what it
// has published.
func (l *lab) commitOnly() {
	l.t.Helper()
	c, err := l.in.prepare(l.t.Context(), Now)
	if err != nil {
		l.t.Fatal(err)
	}
	if _, stuck := l.in.commitAll(l.t.Context(), c.parts, 1); len(stuck) > 0 {
		l.t.Fatal(stuck)
	}
}

// consume deletes all objects, as readers may, and returns what was in them.
func (l *lab) consume() (texts []string) {
	l.t.Helper()
	walk(l.t, l.store, "", func(k backend.Key, text string) {
		texts = append(texts, text)
		if err := l.store.Delete(l.t.Context(), k); err != nil {
			l.t.Fatal(err)
		}
	})
	slices.Sort(texts)
	return texts
}

func (l *lab) lose() {
	l.t.Helper()
	if err := errors.Join(l.in.Close(), os.RemoveAll(filepath.Join(l.c.StateDir, "journal"))); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) rebuild() Rebuilt {
	l.t.Helper()
	r, err := Rebuild(l.t.Context(), l.c, RebuildOptions{})
	if err != nil || len(r.Gaps)+len(r.Warnings) > 0 {
		l.t.Fatalf("%+v, %v", r, err)
	}
	l.open()
	return r
}

// publishes wants the next checkpoint to publish objects with these bytes.
func (l *lab) publishes(want ...string) {
	l.t.Helper()
	l.checkpoint()
	if d := cmp.Diff(append([]string(nil), want...), l.consume()); d != "" {
		l.t.Errorf("published (-want +got):\n%s", d)
	}
}

// TestRebuildAfterReadersDeleted: what manifests and the journal's own backup
// tell is finished, though no object is left to show it.
func TestRebuildAfterReadersDeleted(t *testing.T) {
	l := newLab(t)
	var names []string
	for i := range 2 * (expiredAtOnce + l.c.Retain) { // the first manifests are gone
		l.append("app.log", fmt.Sprintf("line %d\n", i))
		l.checkpoint()
		for _, p := range l.in.recent[i:] {
			names = append(names, p.Key)
		}
		l.consume()
	}
	l.append("app.log", "not yet\n")
	l.lose()
	r := l.rebuild()
	if want := []RebuiltSource{{Path: "app.log", Bytes: 158, Finished: 150, Unfinished: 8}}; !cmp.Equal(want, r.Sources) || r.Objects != 0 {
		t.Errorf("rebuilt %+v", r)
	}
	l.checkpoint()
	for _, p := range l.in.recent {
		if p.Checkpoint > r.Checkpoint && slices.Contains(names, p.Key) {
			t.Errorf("%s is a name that readers knew", p.Key)
		}
	}
	if got := l.consume(); !cmp.Equal(got, []string{"not yet\n"}) {
		t.Errorf("published %q", got)
	}
	l.publishes()
}

// TestRebuildOfPartsOfManySources: their objects have no room to say what is
// in them, so it was noted before they could be seen.
func TestRebuildOfPartsOfManySources(t *testing.T) {
	l := newLab(t)
	var want strings.Builder
	for i := range 60 {
		text := fmt.Sprintf("of source %02d\n", i)
		l.append(fmt.Sprintf("%02d.log", i), text)
		want.WriteString(text)
	}
	l.commitOnly()
	l.lose()
	if r := l.rebuild(); r.Objects != 1 || len(r.Sources) != 60 {
		t.Errorf("rebuilt %+v", r)
	}
	l.publishes(want.String())
	l.publishes()
}

// TestRebuildOfAPartThatGrew: its object was begun before anybody knew what
// would be in it.
func TestRebuildOfAPartThatGrew(t *testing.T) {
	l := newLab(t)
	if err := l.in.Close(); err != nil {
		t.Fatal(err)
	}
	l.store = mem.New(mem.Options{Properties: backend.Properties{StageAbove: 1 << 10}, Unit: 1 << 10})
	l.c.Store, l.c.StateDir = l.store, t.TempDir()
	l.open()
	text := strings.Repeat(strings.Repeat("x", 99)+"\n", 100)
	grow := func() {
		l.append("app.log", text)
		a, err := l.in.Lookup(l.in.Root(), "app.log")
		if err != nil {
			t.Fatal(err)
		}
		s := l.in.source(a.Ino)
		s.mu.Lock()
		_, err = s.observe(l.in.now())
		s.mu.Unlock()
		if err := errors.Join(err, l.in.growSource(t.Context(), s)); err != nil {
			t.Fatal(err)
		}
	}
	grow()
	l.commitOnly()
	grow() // begun, and given up by what follows
	l.lose()
	if r := l.rebuild(); r.Objects != 1 || len(r.Uploads) != 1 || r.Sources[0].Unfinished != int64(len(text)) {
		t.Errorf("rebuilt %+v", r)
	}
	l.publishes(text, text)
	if err := l.store.Uploads(t.Context(), "", func(u backend.Upload) error { return fmt.Errorf("%+v is left", u) }); err != nil {
		t.Error(err)
	}
}

// TestRebuildFromManifestsInTheTarget: with manifests: true the target tells
// what the state directory has lost.
func TestRebuildFromManifestsInTheTarget(t *testing.T) {
	l := newLab(t)
	l.c.Manifests = true
	if err := l.in.Close(); err != nil {
		t.Fatal(err)
	}
	l.open()
	for _, text := range []string{"1\n", "2\n", "3\n"} {
		l.append("app.log", text)
		l.checkpoint()
		l.checkpoint() // publishes nothing, and has no manifest there
		for _, p := range l.in.recent {
			if err := l.store.Delete(t.Context(), backend.Key(p.Key)); err != nil && !errors.Is(err, backend.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
	l.append("app.log", "4\n")
	l.lose()
	if err := os.RemoveAll(filepath.Join(l.c.StateDir, "manifests")); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(l.c.StateDir, "rebuild", "base"))
	if err != nil {
		t.Fatal(err)
	}
	if r := l.rebuild(); r.Parts != 3 || r.Sources[0].Unfinished != 2 {
		t.Errorf("rebuilt %+v", r)
	}
	if kept, err := os.ReadFile(filepath.Join(l.c.StateDir, "rebuild", "base.before")); err != nil || !bytes.Equal(kept, before) {
		t.Errorf("the base before is not kept: %v", err)
	}
}

// TestRebuildKeepsMarks: records that a truncation ended stay apart, and bytes
// stay in the directory that they were written in.
func TestRebuildKeepsMarks(t *testing.T) {
	l := newLab(t)
	sink := DefaultSink()
	sink.Assigner = BasePath{}
	l.c.Sinks = []Sink{sink}
	if err := l.in.Close(); err != nil {
		t.Fatal(err)
	}
	l.open()
	for _, torn := range []string{"a", "b", "c"} {
		l.append("app.log", torn)
		a, err := l.in.Lookup(l.in.Root(), "app.log")
		if err == nil {
			_, err = l.in.Truncate(a.Ino, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	l.append("app.log", "before\n")
	d, err := l.in.Mkdir(t.Context(), l.in.Root(), "sub", 0o755, Caller{})
	if err == nil {
		err = l.in.Rename(t.Context(), l.in.Root(), "app.log", d.Ino, "app.log", false)
	}
	if err != nil {
		t.Fatal(err)
	}
	l.lose()
	l.rebuild()
	l.checkpoint()
	walk(t, l.store, "", func(k backend.Key, text string) {
		if strings.HasPrefix(string(k), "sub/") {
			t.Errorf("%q is published as %s", text, k)
		}
	})
	l.publishes("a", "b", "before\n", "c")
}

// TestRebuildOfANameThatIsBoth: objects in a directory whose name an object has
// too are found, wherever a batch of the walk ends.
func TestRebuildOfANameThatIsBoth(t *testing.T) {
	for _, before := range []int{10, 999} {
		l := newLab(t)
		l.append("app.log", "once\n")
		l.commitOnly()
		var dir backend.Key
		for k := range l.store.Objects() {
			dir, _ = k.Split()
		}
		for i := range before {
			l.store.Foreign(backend.Key(fmt.Sprintf("!%04d", i)), nil)
		}
		l.store.Foreign(dir, nil) // as some tools mark a directory
		l.store.Foreign("zzz", nil)
		l.lose()
		l.rebuild()
		l.checkpoint()
		n := 0
		for _, body := range l.store.Objects() {
			if string(body) == "once\n" {
				n++
			}
		}
		if n != 1 {
			t.Errorf("with %d objects before it the record is in %d parts", before, n)
		}
	}
}

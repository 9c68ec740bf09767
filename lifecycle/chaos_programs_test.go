//go:build faults

package lifecycle

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/sinkfs/sinkfs/backend"
)

// output is what a program writes: a stream, a whole file, or scratch.
type output struct {
	ino    uint64
	path   string // "" once it has no name
	stream bool
	f      *os.File // of a stream that is open
	tail   []*scrap // of its record that has no end
	text   string   // of a file
	taken  bool     // its key is another's in the target
}

// scrap is a record of a stream, or some of one.
type scrap struct {
	text string
	of   *output
	dir  string // where it is published
	free bool   // it may be published in any directory
	last bool   // a truncation ended its record: nothing follows it in its part
}

// dirOf is the directory of a path, "" for the root.
func dirOf(p string) string { return strings.TrimSuffix(path.Dir(p), ".") }

// at are directory and name of a path, as calls take them.
func (w *chaos) at(p string) (dir uint64, name string) {
	dir, err := w.dir(p)
	w.must("look up "+dirOf(p), err)
	return dir, path.Base(p)
}

func (w *chaos) dir(p string) (ino uint64, err error) {
	if dirOf(p) == "" {
		return w.in.Root(), nil
	}
	a, err := w.in.Lookup(w.in.Root(), dirOf(p))
	return a.Ino, err
}

// unfinished says whether it still has its name.
func (w *chaos) unfinished(o *output) bool {
	if o.path == "" {
		return false
	}
	dir, err := w.dir(o.path)
	if err != nil { // it moved while the store could not say that something finished is there
		return false
	}
	a, err := w.in.Lookup(dir, path.Base(o.path))
	if is := err == nil && a.Ino == o.ino; is || !o.stream {
		return is
	}
	if !w.expires || o.f != nil {
		w.rt.Fatalf("the stream %s is gone", o.path)
	}
	o.path = "" // its time was over
	return false
}

// some draws an output that a program can use, nil when there is none.
func (w *chaos) some(like func(o *output) bool) *output {
	all := slices.DeleteFunc(slices.Clone(w.outputs), func(o *output) bool { return !like(o) })
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1-rapid.IntRange(0, len(all)-1).Draw(w.rt, "output")] // the newest is the likeliest
}

func (w *chaos) file(o *output) bool   { return !o.stream && w.unfinished(o) }
func (w *chaos) stream(o *output) bool { return o.stream && w.unfinished(o) }
func (w *chaos) usable(o *output) bool { return w.stream(o) || o.f != nil }

// name is a new one, in any directory of the same sink.
func (w *chaos) name(stream, inFiles bool) string {
	name := fmt.Sprint("n", w.id())
	switch {
	case stream:
		name += ".log"
	default:
		name += rapid.SampledFrom([]string{".gz", ".tmp"}).Draw(w.rt, "extension")
	}
	if inFiles {
		return "files/" + name
	}
	return path.Join(rapid.SampledFrom(w.dirs).Draw(w.rt, "dir"), name)
}

func (w *chaos) create() {
	o := &output{stream: !w.oneIn(3, "file")}
	o.path = w.name(o.stream, !o.stream && w.oneIn(2, "in files"))
	dir, name := w.at(o.path)
	a, err := w.in.Create(dir, name, 0o644, Caller{})
	if !w.allowed("create "+o.path, err) {
		return
	}
	o.ino = a.Ino
	w.outputs = append(w.outputs, o)
	if !o.stream {
		w.write(o)
	}
}

func (w *chaos) append() {
	o := w.some(w.usable)
	if o == nil {
		return
	}
	if o.f == nil {
		_, err := w.in.OpenFile(o.ino, Use{Write: true}, Caller{})
		w.must("open "+o.path, err)
		o.f, err = w.in.Descriptor(o.ino, os.O_WRONLY|os.O_APPEND)
		w.must("descriptor", err)
	}
	for range rapid.IntRange(1, 4).Draw(w.rt, "scraps") {
		s := &scrap{text: fmt.Sprintf("<%d>", w.id()), of: o, free: true}
		text := s.text
		w.scraps, o.tail = append(w.scraps, s), append(o.tail, s)
		if !w.oneIn(3, "no end") {
			text += "\n"
			s.dir, s.free, o.tail = dirOf(o.path), o.path == "", nil
		}
		w.bytes += len(text)
		_, err := o.f.WriteString(text)
		w.must(fmt.Sprintf("append %q to %s", text, o.path), err)
	}
	if !w.oneIn(3, "keep open") {
		w.closeStream(o)
	}
}

func (w *chaos) closeStream(o *output) {
	w.must("close "+o.path, o.f.Close())
	o.f = nil
	w.in.ReleaseFile(o.ino, Use{Write: true})
}

func (w *chaos) truncate() {
	o := w.some(w.stream)
	if o == nil {
		return
	}
	_, err := w.in.Truncate(o.ino, 0)
	if w.allowed("truncate "+o.path, err) && len(o.tail) > 0 {
		o.tail[len(o.tail)-1].last = true
		o.tail = nil
	}
}

func (w *chaos) rewrite() {
	if o := w.some(w.file); o != nil {
		w.write(o)
	}
}

// write replaces what is in a file.
func (w *chaos) write(o *output) {
	if _, err := w.in.OpenFile(o.ino, Use{Write: true}, Caller{}); !w.allowed("open "+o.path, err) {
		return
	}
	w.discarded = append(w.discarded, o.text)
	o.text = fmt.Sprintf("{%d}", w.id())
	_, err := w.in.Truncate(o.ino, 0)
	w.must("truncate "+o.path, err)
	f, err := w.in.Descriptor(o.ino, os.O_WRONLY)
	w.must("descriptor", err)
	_, err = f.WriteString(o.text)
	w.must(fmt.Sprintf("write %s to %s", o.text, o.path), err)
	w.must("close "+o.path, f.Close())
	w.in.ReleaseFile(o.ino, Use{Write: true})
}

// goes notes that the name of an output is taken away.
func (w *chaos) goes(o *output) {
	o.path = ""
	w.discarded = append(w.discarded, o.text)
}

func (w *chaos) unlink() {
	if o := w.some(w.unfinished); o != nil && w.allowed("unlink "+o.path, w.in.Unlink(w.at(o.path))) {
		w.goes(o)
	}
}

func (w *chaos) rename() {
	o := w.some(w.unfinished)
	if o == nil {
		return
	}
	inFiles := dirOf(o.path) == "files"
	to, over := w.name(o.stream, inFiles), (*output)(nil)
	if x := w.some(w.unfinished); x != o && x.stream == o.stream && inFiles == (dirOf(x.path) == "files") && w.oneIn(2, "over another") {
		to, over = x.path, x
	}
	if w.move(o.path, to) {
		o.path, o.taken = to, false
		if over != nil {
			w.goes(over)
		}
	}
}

func (w *chaos) move(from, to string) bool {
	fromDir, fromName := w.at(from)
	toDir, toName := w.at(to)
	return w.allowed("rename "+from+" to "+to, w.in.Rename(w.t.Context(), fromDir, fromName, toDir, toName, false))
}

func (w *chaos) mkdir() {
	d := fmt.Sprint("d", w.id())
	_, err := w.in.Mkdir(w.t.Context(), w.in.Root(), d, 0o755, Caller{})
	w.must("mkdir "+d, err)
	w.dirs = append(w.dirs, d)
}

func (w *chaos) renameDir() {
	i := len(w.dirs) - 1 - rapid.IntRange(0, len(w.dirs)-2).Draw(w.rt, "dir") // nothing is finished in the newest, perhaps
	from, to := w.dirs[i], fmt.Sprint("d", w.id())
	var below []*output
	for _, o := range w.outputs {
		if dirOf(o.path) == from && w.unfinished(o) {
			below = append(below, o)
		}
	}
	if !w.move(from, to) {
		return
	}
	w.dirs[i] = to
	for _, o := range below {
		o.path = path.Join(to, path.Base(o.path))
	}
}

// intrude takes the key of a file in the target.
func (w *chaos) intrude() {
	o := w.some(w.file)
	if w.trouble != crowd || o == nil || dirOf(o.path) != "files" {
		return
	}
	if _, there := w.store.Objects()[backend.Key(o.path)]; !there {
		w.store.Foreign(backend.Key(o.path), []byte(theirs))
		o.taken = true
	}
}

// keepHouse does what an Instance does beside checkpoints.
func (w *chaos) keepHouse() {
	sources := w.in.allSources()
	slices.SortFunc(sources, func(a, b *source) int { return cmp.Compare(a.seq, b.seq) })
	for _, s := range sources {
		w.in.look(s)
	}
	w.in.clean()
	for _, s := range sources {
		if w.in.grower != nil {
			_ = w.in.growSource(w.t.Context(), s)
		}
	}
	w.in.abortStrays(w.t.Context())
}

func (w *chaos) passTime() {
	d := rapid.SampledFrom([]time.Duration{70 * time.Second, 70 * time.Second, 3 * time.Hour}).Draw(w.rt, "time")
	w.sky.with(func() { w.now = w.now.Add(d) })
	w.in.roll(DefaultInterval, w.in.now())
}

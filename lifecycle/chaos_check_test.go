//go:build faults

package lifecycle

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sinkfs/sinkfs/lifecycle/audit"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// finished are the texts that a checkpoint covers which begins now: records
// with an end, and closed files.
func (w *chaos) finished(t Trigger) (scraps, files []string) {
	if t != Now && t != End || w.cuts {
		return nil, nil
	}
	for _, s := range w.scraps {
		if !slices.Contains(s.of.tail, s) {
			scraps = append(scraps, s.text)
		}
	}
	for _, o := range w.outputs {
		if w.trouble != crowd && w.file(o) && w.in.tree.Node(o.ino).Kind() == spool.File {
			files = append(files, o.text)
		}
	}
	return scraps, files
}

// covered wants a checkpoint that succeeded to have published them.
func (w *chaos) covered(c journal.Checkpoint, texts ...[]string) {
	all := published(w.store)
	for _, text := range slices.Concat(texts...) {
		if !strings.Contains(all, text) {
			w.rt.Logf("%+v", c)
			w.rt.Fatalf("checkpoint %d succeeded without %s", c.ID, text)
		}
	}
}

// finish ends the chaos, publishes everything, and compares.
func (w *chaos) finish() {
	for _, o := range w.outputs {
		if o.f != nil {
			w.closeStream(o)
		}
	}
	w.c.CommitTimeout = time.Minute
	w.kill()
	w.sky.with(func() { w.sky.crowded = false })
	for _, o := range w.outputs {
		if o.taken && w.file(o) {
			w.takeBack(o)
		}
	}
	for i := range 4 {
		_, err := w.in.checkpoint(w.t.Context(), Now)
		w.must("last checkpoints", err)
		w.keepHouse()
		if i == 1 {
			w.kill()
		}
	}
	w.checkStreams()
	w.checkFiles()
	w.checkNothingIsLeft()
}

// takeBack gives a file another name. Where it is about to be published, it is
// its writer's again once the store has said that its key is another's.
func (w *chaos) takeBack(o *output) {
	to := w.name(false, true)
	if !w.move(o.path, to) {
		_, err := w.in.checkpoint(w.t.Context(), Now)
		w.rt.Logf("quarantined: %v", err)
		if !w.move(o.path, to) {
			w.rt.Fatalf("%s cannot be taken back", o.path)
		}
	}
	o.path = to
}

// place is where a scrap was published, and what is behind it in its part.
type place struct {
	dir         string
	number, off int
	follows     string
}

// checkStreams: each scrap once, in its directory, in order, and nothing behind
// a truncation.
func (w *chaos) checkStreams() {
	places := w.places()
	if w.cuts { // anywhere: that it is all there is all that can be said
		return
	}
	type line struct {
		of  *output
		dir string
	}
	newest := map[line]place{}
	for _, s := range w.scraps {
		if len(places[s.text]) != 1 {
			w.rt.Fatalf("%s is published %d times: %+v", s.text, len(places[s.text]), places[s.text])
		}
		is := places[s.text][0]
		before := newest[line{s.of, is.dir}]
		switch newest[line{s.of, is.dir}] = is; {
		case !s.free && is.dir != s.dir:
			w.rt.Fatalf("%s is in %q, was written in %q", s.text, is.dir, s.dir)
		case s.last && is.follows != "":
			w.rt.Fatalf("%s was ended by a truncation, %q follows", s.text, is.follows)
		case w.trouble == "" && cmp.Or(cmp.Compare(is.number, before.number), cmp.Compare(is.off, before.off)) < 0:
			w.rt.Fatalf("%s is in part %d at %d, what was before it is in part %d at %d", s.text, is.number, is.off, before.number, before.off)
		}
	}
}

var scrapText = regexp.MustCompile(`<\d+>`)

// places are where each scrap is. All bytes of streams are in parts.
func (w *chaos) places() map[string][]place {
	places := map[string][]place{}
	bytes := 0
	for key, body := range w.store.Objects() {
		dir, name := key.Split()
		if !strings.HasPrefix(name, "part-") || string(body) == theirs {
			continue
		}
		bytes += len(body)
		n, err := strconv.Atoi(name[strings.LastIndexByte(name, '-')+1:])
		w.must("the number of a part", err)
		for _, at := range scrapText.FindAllIndex(body, -1) {
			text := string(body[at[0]:at[1]])
			places[text] = append(places[text], place{string(dir), n, at[0], string(body[at[1]:])})
		}
	}
	if bytes != w.bytes {
		w.rt.Errorf("%d bytes were written to streams, %d are published", w.bytes, bytes)
	}
	return places
}

// checkFiles: each whole file once, under its last name; what was discarded
// nowhere, and scratch neither.
func (w *chaos) checkFiles() {
	keys := map[string][]string{}
	objects := w.store.Objects()
	for _, k := range slices.Sorted(maps.Keys(objects)) {
		keys[string(objects[k])] = append(keys[string(objects[k])], string(k))
	}
	for _, o := range w.outputs {
		if o.stream || o.path == "" || o.text == "" {
			continue
		}
		want := []string{o.path}
		if w.file(o) && w.in.tree.Node(o.ino).Kind() == spool.Scratch {
			want = nil
		}
		if got := keys[o.text]; !slices.Equal(got, want) {
			w.rt.Fatalf("the file %s with %s is at %q, want %q", o.path, o.text, got, want)
		}
	}
	for _, text := range w.discarded {
		if len(keys[text]) > 0 && text != "" {
			w.rt.Fatalf("%s was replaced or removed, and is at %q", text, keys[text])
		}
	}
}

func (w *chaos) checkNothingIsLeft() {
	account, err := w.in.Account()
	w.must("account", err)
	report, err := audit.Fsck(w.t.Context(), audit.Input{Store: w.store, State: audit.Fixed(account)})
	w.must("fsck", err)
	if left := w.in.Unpublished(); report.Problems > 0 || len(w.in.parts) > 0 || !left.None() {
		w.rt.Logf("fsck: %+v", report.Rows)
		w.rt.Fatalf("%d parts and %+v are left, fsck finds %d problems", len(w.in.parts), left, report.Problems)
	}
}

package lifecycle

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/local"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// TestRebuiltJournalPublishesOnce is TestEveryRecordIsInExactlyOnePart where
// the journal is lost at any instant, readers delete what was announced, and
// manifests expire: rebuilt, nothing is published twice, nothing is lost, and
// no name is used again.
func TestRebuiltJournalPublishesOnce(t *testing.T) {
	t.Run("mem", func(t *testing.T) {
		loseJournals(t, func(w *loser) { w.useMemory() })
	})
	t.Run("local", func(t *testing.T) {
		loseJournals(t, func(w *loser) {
			dir := filepath.Join(w.dir, "target")
			err := os.Mkdir(dir, 0o755)
			if err == nil {
				w.store, err = local.Open(dir, nil)
			}
			if err != nil {
				w.rt.Fatal(err)
			}
		})
	})
}

func loseJournals(t *testing.T, equip func(*loser)) {
	t.Helper()
	setDefaultFlag(t, "rapid.checks", "30") // each restart syncs a lot
	rapid.Check(t, func(rt *rapid.T) {
		w := &loser{world: emptyWorld(t, rt), taken: map[string]string{}, names: map[string]bool{}}
		w.retain = 1
		equip(w)
		w.start()
		defer w.close()
		rt.Repeat(map[string]func(*rapid.T){
			"":           w.check,
			"open":       w.open,
			"write":      w.write,
			"write more": w.write,
			"close":      w.end,
			"rename":     w.rename,
			"truncate":   w.truncate,
			"unlink":     w.unlink,
			"file":       w.file,
			"checkpoint": w.checkpoint,
			"roll":       w.roll,
			"hour":       w.hour,
			"restart":    w.restart,
			"grow":       w.grow,
			"sweep":      w.sweep,
			"weather":    w.weather,
			"read":       w.read,
			"lose":       w.lose,
		})
		w.finish()
	})
}

// loser is a world that loses its journal.
type loser struct {
	*world
	files int
	taken map[string]string // what readers have deleted, by key
	names map[string]bool   // every key ever seen
}

// end closes a descriptor at the end of a record: one that is sealed torn, and
// not published when the journal is lost, goes on with what is written next.
func (w *loser) end(t *rapid.T) {
	for _, o := range w.writers {
		if s := w.sources[o.ino]; s.tail != "" {
			if _, err := o.f.WriteString("\n"); err != nil {
				t.Fatal(err)
			}
			w.records = append(w.records, s.tail+"\n")
			s.tail = ""
		}
	}
	w.closeOne(t)
}

// file writes a whole file.
func (w *loser) file(*rapid.T) {
	w.files++
	name, text := fmt.Sprintf("f%d.gz", w.files), fmt.Sprintf("file %d\n", w.files)
	writeOnce(w.t, w.in, name, text)
	w.records = append(w.records, text)
}

// read has a reader delete a file that was announced.
func (w *loser) read(t *rapid.T) {
	var there []string
	for _, p := range w.in.recent {
		if _, gone := w.taken[p.Key]; !gone {
			there = append(there, p.Key)
		}
	}
	if len(there) == 0 {
		t.Skip("nothing is announced")
	}
	key := rapid.SampledFrom(there).Draw(t, "key")
	w.taken[key] = readObject(w.t, w.store, backend.Key(key))
	if err := w.store.Delete(w.t.Context(), backend.Key(key)); err != nil {
		t.Fatal(err)
	}
}

func (w *loser) checkpoint(t *rapid.T) {
	w.giveBack()
	defer w.takeAgain(t)
	w.world.checkpoint(t)
}

func (w *loser) check(t *rapid.T) {
	w.giveBack()
	defer w.takeAgain(t)
	w.world.check(t)
}

func (w *loser) finish() {
	w.giveBack()
	w.unknown = slices.Collect(maps.Keys(w.taken))
	w.world.finish()
}

// giveBack shows the files that readers deleted to the comparisons.
func (w *loser) giveBack() {
	w.gone = slices.Collect(maps.Values(w.taken))
}

// takeAgain looks at the names: none comes twice.
func (w *loser) takeAgain(t *rapid.T) {
	walk(w.t, w.store, "", func(k backend.Key, _ string) {
		if _, deleted := w.taken[string(k)]; deleted && strings.HasPrefix(path.Base(string(k)), "part-") {
			t.Fatalf("the name %s was used again", k)
		}
	})
}

// lose ends the process at some instant of a checkpoint, and takes its journal
// away.
func (w *loser) lose(t *rapid.T) {
	w.die(t, rapid.SampledFrom([]string{"before", "sealed", "prepared", "committed", "finished"}).Draw(t, "instant"))
	if err := w.in.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if rapid.Bool().Draw(t, "damaged") {
		err = os.Remove(filepath.Join(w.dir, "journal", "db", "MANIFEST"))
	} else {
		err = os.RemoveAll(filepath.Join(w.dir, "journal"))
	}
	if err != nil {
		t.Fatal(err)
	}
	if in, err := Open(w.t.Context(), w.config()); err == nil {
		_ = in.Close()
		t.Fatal("opened without its journal")
	}
	preview, err := Rebuild(w.t.Context(), w.config(), RebuildOptions{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	made, err := Rebuild(w.t.Context(), w.config(), RebuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	preview.Instance, preview.Kept = made.Instance, made.Kept
	if w.failing { // uploads stay where the store aborts none
		preview.Warnings, made.Warnings = nil, nil
	}
	if d := cmp.Diff(preview, made); d != "" || len(made.Gaps)+len(made.Warnings) > 0 {
		t.Fatalf("the preview differs (-preview +made):\n%s\ngaps %q, warnings %q", d, made.Gaps, made.Warnings)
	}
	w.start()
	for _, o := range w.writers {
		if err := w.in.Adopt(o.ino, Use{Write: true}); err != nil {
			t.Fatal(err)
		}
	}
}

// die makes the steps of a checkpoint up to some instant.
func (w *loser) die(t *rapid.T, instant string) {
	ctx, in := w.t.Context(), w.in
	if instant == "sealed" {
		h := in.collect(Now)
		if err := in.seal(ctx, h); err != nil {
			t.Fatal(err)
		}
	}
	if instant == "before" || instant == "sealed" {
		return
	}
	c, err := in.prepare(ctx, Now)
	if err != nil && !w.failing {
		t.Fatal(err)
	}
	if err != nil || instant == "prepared" {
		return
	}
	done, stuck := in.commitAll(ctx, in.committing(c.ID), 1)
	if instant == "committed" {
		return
	}
	in.result(c, done, stuck)
	if err := in.journalFinished(done, []journal.Checkpoint{c.Checkpoint}); err != nil {
		t.Fatal(err)
	}
}

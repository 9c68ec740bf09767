package journal_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// model is a journal as a map from identity to record.
type model map[string]journal.Record

func (m model) write(rs ...journal.Record) {
	for _, r := range rs {
		switch r := r.(type) {
		case journal.Instance:
			m["0"] = r
		case journal.Counter:
			m["1"+r.Sink] = r
		case journal.Source:
			m[fmt.Sprintf("2%020d.%010d", r.ID.Ino, r.ID.Gen)] = r
		case journal.Checkpoint:
			m[fmt.Sprintf("3%020d", r.ID)] = r
		case journal.Part:
			m[fmt.Sprintf("4%020d", r.ID)] = r
		case journal.DropSource:
			delete(m, fmt.Sprintf("2%020d.%010d", r.ID.Ino, r.ID.Gen))
		case journal.DropCheckpoint:
			delete(m, fmt.Sprintf("3%020d", r.ID))
		case journal.DropPart:
			delete(m, fmt.Sprintf("4%020d", r.ID))
		}
	}
}

func (m model) load() []journal.Record {
	var rs []journal.Record
	for _, k := range slices.Sorted(maps.Keys(m)) {
		rs = append(rs, m[k])
	}
	return rs
}

// texts make records that are stored plain, compressed, and in pieces.
var texts = []string{"", "short", noise(1)[:5<<10], noise(2)[:400<<10]}

func aRecord(t *rapid.T) journal.Record {
	id := rapid.Uint64Range(0, 5).Draw(t, "id")
	text := texts[rapid.IntRange(0, len(texts)-1).Draw(t, "text")]
	source := journal.SourceID{Ino: id, Gen: uint32(len(text))}
	return rapid.SampledFrom([]journal.Record{
		journal.Instance{UID: text},
		journal.Counter{Sink: fmt.Sprint("/", id), Next: uint64(len(text))},
		journal.Source{ID: source, Path: text},
		journal.Checkpoint{ID: id, Error: text},
		journal.Part{ID: id, Error: text},
		journal.DropPart{ID: id},
		journal.DropSource{ID: source},
		journal.DropCheckpoint{ID: id},
	}).Draw(t, "record")
}

func TestJournalIsAMapThatSurvivesReopening(t *testing.T) {
	tmp := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir := filepath.Join(tmp, "journal")
		var err error
		var j *journal.Journal
		reopen := func() {
			if j != nil {
				if err := j.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if j, err = journal.Open(journal.Options{Dir: dir, MinFree: 1}); err != nil {
				t.Fatal(err)
			}
		}
		reopen()
		defer func() { _ = errors.Join(j.Close(), os.RemoveAll(dir)) }()
		want := model{}
		write := func(fn func(...journal.Record) error, rs ...journal.Record) {
			if err := fn(rs...); err != nil {
				t.Fatal(err)
			}
			want.write(rs...)
		}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) { write(j.Write, rapid.SliceOfN(rapid.Custom(aRecord), 0, 8).Draw(t, "rs")...) },
			"mark":  func(t *rapid.T) { write(j.Mark, rapid.SliceOfN(rapid.Custom(aRecord), 0, 3).Draw(t, "rs")...) },
			"reopen": func(t *rapid.T) {
				if rapid.IntRange(0, 7).Draw(t, "seldom") == 0 {
					reopen()
				}
			},
			"load": func(t *rapid.T) {
				var got []journal.Record
				err := j.Load(func(r journal.Record) error {
					got = append(got, r)
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want.load(), got); diff != "" {
					t.Fatalf("(-want +got):\n%.1000s", diff)
				}
			},
		})
	})
}

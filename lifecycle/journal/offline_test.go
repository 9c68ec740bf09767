package journal_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", "find . -type f -printf '%p %s %T@\\n' | sort; find . -type f -exec sha256sum {} + | sort -k2")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestVerifyDumpAndBackupChangeNothing(t *testing.T) {
	dir, at, _ := killedJournal(t)
	before := fingerprint(t, dir)
	report, err := journal.Verify(dir)
	must(t, err)
	if report.Seq == 0 || report.AnchorSeq == 0 || report.AnchorSeq > report.Seq || report.Bytes == 0 || len(report.Hash) != 64 {
		t.Errorf("report: %+v", report)
	}
	if got, want := report.Records, (map[string]int{"part": len(at.Parts), "counter": writers - 1, "checkpoint": 2}); !cmp.Equal(got, want) {
		t.Errorf("records: got %v, want %v", got, want)
	}
	must(t, journal.Dump(dir, &bytes.Buffer{}))
	must(t, journal.Backup(dir, &bytes.Buffer{}))
	if diff := cmp.Diff(before, fingerprint(t, dir)); diff != "" {
		t.Errorf("the journal changed (-before +after):\n%s", diff)
	}
}

func TestDump(t *testing.T) {
	dir := t.TempDir()
	written(t, dir, "/events", 2)
	var out strings.Builder
	must(t, journal.Dump(dir, &out))
	if got, want := out.String(), `{"type":"counter","record":{"sink":"/events","next":1}}`+"\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for name, err := range map[string]error{
		"Dump of nothing":   journal.Dump(t.TempDir(), &out),
		"Dump of no dir":    journal.Dump(filepath.Join(t.TempDir(), "x"), &out),
		"Backup of nothing": journal.Backup(t.TempDir(), &out),
	} {
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: got %v, want %v", name, err, os.ErrNotExist)
		}
	}
}

func TestRestoreOfABackupIsTheSameJournal(t *testing.T) {
	dir, _, _ := killedJournal(t)
	var backup bytes.Buffer
	must(t, journal.Backup(dir, &backup))
	j := open(t, dir)
	want := loadAll(t, j)
	must(t, j.Mark(journal.Counter{Sink: "after the backup"}))
	must(t, j.Close())

	for _, target := range []struct {
		name  string
		dir   string
		spoil func(dir string) error
		kept  int // replaced journals
	}{
		{"nothing", filepath.Join(t.TempDir(), "new"), func(string) error { return nil }, 0},
		{"a healthy journal", dir, func(string) error { return nil }, 1},
		{"a damaged one", dir, func(dir string) error { return os.Remove(filepath.Join(dir, "db", "MANIFEST")) }, 2},
		{"an anchor alone", dir, func(dir string) error { return os.RemoveAll(filepath.Join(dir, "db")) }, 3},
	} {
		t.Run(target.name, func(t *testing.T) {
			must(t, target.spoil(target.dir))
			must(t, journal.Restore(target.dir, bytes.NewReader(backup.Bytes())))
			j := open(t, target.dir)
			if diff := cmp.Diff(want, loadAll(t, j)); diff != "" {
				t.Errorf("(-want +got):\n%.1000s", diff)
			}
			must(t, j.Write(journal.Counter{Sink: "goes on"}))
			must(t, j.Close())
			if got, err := filepath.Glob(filepath.Join(target.dir, "replaced-*")); err != nil || len(got) != target.kept {
				t.Errorf("replaced journals: got %q, %v, want %d", got, err, target.kept)
			}
		})
	}
}

func TestRestoreOfAPartOfABackupChangesNothing(t *testing.T) {
	dir := t.TempDir()
	written(t, dir, "/", 3)
	var b bytes.Buffer
	must(t, journal.Backup(dir, &b))
	whole := b.String()
	lines := strings.SplitAfter(whole, "\n")
	before := fingerprint(t, dir)
	for name, backup := range map[string]string{
		"empty":          "",
		"cut short":      whole[:len(whole)-20],
		"no trailer":     strings.Join(lines[:len(lines)-2], ""),
		"a record less":  strings.Join(append(lines[:1:1], lines[2:]...), ""),
		"altered":        strings.Replace(whole, `"next":2`, `"next":3`, 1),
		"not a backup":   "hello\n",
		"unknown record": strings.Replace(whole, `"counter"`, `"countess"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			err := journal.Restore(dir, strings.NewReader(backup))
			if err == nil || !strings.Contains(err.Error(), "not a whole backup") {
				t.Errorf("got %v", err)
			}
			if diff := cmp.Diff(before, fingerprint(t, dir)); diff != "" {
				t.Errorf("the journal changed (-before +after):\n%s", diff)
			}
		})
	}
}

func TestReplaceKeepsTheOldJournal(t *testing.T) {
	dir := t.TempDir()
	written(t, dir, "/", 3)
	must(t, os.Remove(filepath.Join(dir, "db", "MANIFEST")))
	want := []journal.Record{journal.Instance{UID: "new"}, journal.Counter{Sink: "a", Next: 7}}
	kept, err := journal.Replace(dir, want)
	must(t, err)
	if _, err := os.Stat(filepath.Join(kept, "anchor")); err != nil || filepath.Dir(kept) != dir {
		t.Errorf("kept in %q: %v", kept, err)
	}
	j := open(t, dir)
	if diff := cmp.Diff(want, loadAll(t, j)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	must(t, j.Close())

	fresh := filepath.Join(t.TempDir(), "j")
	if kept, err := journal.Replace(fresh, want); kept != "" || err != nil {
		t.Errorf("where there was none: kept %q, %v", kept, err)
	}
}

// TestBackupOfAnOpenJournal is whole beside writes, and is read back as it was
// written or not at all.
func TestBackupOfAnOpenJournal(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	want := []journal.Record{journal.Instance{UID: "u"}, journal.Counter{Sink: "a", Next: 7}, journal.Part{ID: 3, Key: "k"}}
	must(t, j.Write(want...))
	var b bytes.Buffer
	must(t, j.Backup(&b))
	must(t, j.Write(journal.Counter{Sink: "a", Next: 8}))
	must(t, j.Close())
	read := func(text string) (got []journal.Record, err error) {
		err = journal.ReadBackup(strings.NewReader(text), func(r journal.Record) error {
			got = append(got, r)
			return nil
		})
		return got, err
	}
	got, err := read(b.String())
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, err := read(strings.Replace(b.String(), "7", "9", 1)); err == nil || len(got) > 0 {
		t.Errorf("an altered one is read: %v, %v", got, err)
	}
	for _, r := range want {
		line, err := journal.AppendLine(nil, r)
		must(t, err)
		if got, err := journal.ParseLine(line); err != nil || !cmp.Equal(got, r) {
			t.Errorf("%s is read as %v, %v", line, got, err)
		}
	}
	if _, err := journal.AppendLine(nil, journal.DropPart{ID: 1}); err == nil {
		t.Error("a deletion made a line")
	}
}

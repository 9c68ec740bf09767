package journal

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestKilledWhileOpening: Badger turns its logs into tables and removes them
// before it makes the next one; who is killed between comes back.
func TestKilledWhileOpening(t *testing.T) {
	live := t.TempDir()
	j, err := Open(Options{Dir: live, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Mark(Counter{Sink: "/", Next: 7}); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "journal") // as a kill leaves it
	if out, err := exec.Command("cp", "-a", live, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := setAside(dir); err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(dir, dbName)
	store, err := openStore(db, Options{}.withDefaults().Log)
	if err == nil {
		err = store.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(db, "*"+walExt))
	if err != nil {
		t.Fatal(err)
	}
	for _, log := range logs {
		if err := os.Remove(log); err != nil {
			t.Fatal(err)
		}
	}
	j, err = Open(Options{Dir: dir, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	var got []Record
	err = j.Load(func(r Record) error {
		got = append(got, r)
		return nil
	})
	if err := errors.Join(err, j.Close()); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 {
		t.Errorf("records %+v", got)
	}
}

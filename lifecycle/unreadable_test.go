package lifecycle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestUnreadableSpoolFileFailsTheCheckpoint: success would say that all records
// are finished.
func TestUnreadableSpoolFileFailsTheCheckpoint(t *testing.T) {
	store := putStore()
	c := Config{Store: store, Target: "mem", Sinks: []Sink{streamSink()}}
	in := killable(t, &c)
	t.Cleanup(func() { _ = in.Close() })
	ino := create(t, in, "a.log")
	openFor(t, in, ino, Use{Write: true})
	appendOnce(t, in, ino, "one\ntwo\n")
	s := in.source(ino)
	s.mu.Lock()
	_, err := s.observe(in.now())
	s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(in.cfg.SpoolDir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			err = os.Truncate(p, 1) // a read ends too early, as one does with EIO
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	put(t, in, "b.gz", "whole")
	cp, err := in.checkpoint(t.Context(), Now)
	if !errors.Is(err, ErrIncomplete) || len(cp.Failed) != 1 || cp.Failed[0].Path != "a.log" {
		t.Errorf("checkpoint = %v, failed %v, left out %v; want a.log to fail it", err, cp.Failed, cp.LeftOut)
	}
	if got := published(store); got != "whole" {
		t.Errorf("published %q, want what can be read", got)
	}
}

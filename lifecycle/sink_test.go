package lifecycle_test

import (
	"testing"

	"github.com/sinkfs/sinkfs/backend/mem"
	"github.com/sinkfs/sinkfs/lifecycle"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// A sink can be written as soon as it is configured, and what its owner made
// of its directory stays.
func TestSinkDirectoriesExist(t *testing.T) {
	sink := lifecycle.DefaultSink()
	sink.Path = "logs/eu"
	config := lifecycle.Config{
		StateDir: t.TempDir(), Store: mem.New(mem.Options{}), Sinks: []lifecycle.Sink{sink}, UID: 7, GID: 8, DirMode: 0o750,
	}
	for _, want := range []uint32{0o750, 0o711} {
		in, err := lifecycle.Open(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		dir, err := in.Lookup(in.Root(), "logs")
		if err == nil {
			dir, err = in.Lookup(dir.Ino, "eu")
		}
		if err != nil {
			t.Fatal(err)
		}
		if dir.Kind != spool.Dir || dir.Stat.Mode&0o7777 != want || dir.Stat.UID != 7 || dir.Stat.GID != 8 {
			t.Errorf("logs/eu is %v, mode %o of %d:%d, want a directory of mode %o of 7:8", dir.Kind, dir.Stat.Mode, dir.Stat.UID, dir.Stat.GID, want)
		}
		mode := uint32(0o711)
		if _, err := in.SetAttr(dir.Ino, lifecycle.SetAttr{Mode: &mode}); err != nil {
			t.Error(err)
		}
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	}
}

package main_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sinkfs/sinkfs/internal/sinkfstest"
	"github.com/sinkfs/sinkfs/internal/testfs"
)

// TestFullSpoolDisk: a program that fills the disk of the spool gets ENOSPC.
// What it had written is published all the same, and makes room to go on.
func TestFullSpoolDisk(t *testing.T) {
	record := []byte(strings.Repeat("x", 64<<10-1) + "\n")
	for _, passthrough := range []string{"on", "off"} {
		t.Run("passthrough="+passthrough, func(t *testing.T) {
			disk := testfs.New(t, testfs.Ext4, 256)
			m := sinkfstest.At(t, "")
			m.Target, m.State = filepath.Join(m.Dir, "target"), filepath.Join(disk, "state")
			m.Start("--passthrough=" + passthrough)
			written := fillUp(t, m.Path("app.log"), record)
			m.Publish()
			wantPublished(t, m, written)
			sinkfstest.Eventually(t, "there is room again", func() bool {
				return os.WriteFile(m.Path("more.log"), record, 0o644) == nil
			})
			m.Publish()
		})
	}
}

// TestMountOnAFullDisk: a mount whose spool has filled the disk of its state
// directory comes back after a crash. Nothing else would free some.
func TestMountOnAFullDisk(t *testing.T) {
	for _, kind := range []testfs.Kind{testfs.XFS, testfs.Tmpfs} { // that keep nothing back for root
		t.Run(string(kind), func(t *testing.T) {
			disk := testfs.New(t, kind, 400)
			m := sinkfstest.At(t, "")
			m.Target, m.State = filepath.Join(m.Dir, "target"), filepath.Join(disk, "state")
			m.Start()
			written := fillUp(t, m.Path("app.log"), []byte(strings.Repeat("x", 1<<20-1)+"\n"))
			written += fillUp(t, m.Path("app.log"), []byte("\n"))
			m.KillAll()
			m.Start()
			m.Publish()
			wantPublished(t, m, written)
		})
	}
}

// fillUp appends records until the disk is full, and returns how many bytes
// were taken.
func fillUp(t *testing.T, path string, record []byte) (written int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		var n int
		n, err = f.Write(record)
		written += n
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a write to a full disk: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	return written
}

func wantPublished(t *testing.T, m *sinkfstest.Mount, written int) {
	t.Helper()
	published := 0
	for _, text := range m.Finished() {
		published += len(text)
	}
	if published != written {
		t.Errorf("%d bytes are published, %d were written", published, written)
	}
}

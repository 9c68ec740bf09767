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
	for _, passthrough := range []string{"on", "off"} {
		t.Run("passthrough="+passthrough, func(t *testing.T) {
			disk := testfs.New(t, testfs.Ext4, 256)
			m := sinkfstest.At(t, "")
			m.Target, m.State = filepath.Join(m.Dir, "target"), filepath.Join(disk, "state")
			m.Start("--passthrough=" + passthrough)
			f, err := os.OpenFile(m.Path("app.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			record := []byte(strings.Repeat("x", 64<<10-1) + "\n")
			written := 0
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
			m.Publish()
			published := 0
			for _, text := range m.Finished() {
				published += len(text)
			}
			if published != written {
				t.Errorf("%d bytes are published, %d were written", published, written)
			}
			sinkfstest.Eventually(t, "there is room again", func() bool {
				return os.WriteFile(m.Path("more.log"), record, 0o644) == nil
			})
			m.Publish()
		})
	}
}

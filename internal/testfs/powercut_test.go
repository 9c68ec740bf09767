package testfs_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/sinkfs/sinkfs/internal/testfs"
)

// TestPowerCut: a cut keeps what was synced and, on a file system that has had
// no time to write by itself, loses what was not. Without the second half the
// first would prove nothing.
func TestPowerCut(t *testing.T) {
	for _, k := range []testfs.Kind{testfs.Ext4, testfs.XFS, testfs.Btrfs} {
		t.Run(string(k), func(t *testing.T) {
			p := testfs.NewPowerCut(t, k, 64)
			synced := bytes.Repeat([]byte("synced\n"), 10_000)
			lost := bytes.Repeat([]byte("lost\n"), 10_000)
			write(t, filepath.Join(p.Dir(), "synced"), synced, true)
			write(t, filepath.Join(p.Dir(), "lost"), lost, false)

			for range 2 { // the running file system does not notice
				t.Run("cut", func(t *testing.T) {
					dir := p.Cut(t)
					got, err := os.ReadFile(filepath.Join(dir, "synced"))
					if err != nil || !bytes.Equal(got, synced) {
						t.Errorf("synced file after a cut: %d bytes, %v; want %d", len(got), err, len(synced))
					}
					got, err = os.ReadFile(filepath.Join(dir, "lost"))
					if err == nil && bytes.Equal(got, lost) {
						t.Errorf("the cut kept bytes that nobody synced: it cuts nothing")
					}
				})
			}
			got, err := os.ReadFile(filepath.Join(p.Dir(), "lost"))
			if err != nil || !bytes.Equal(got, lost) {
				t.Errorf("the running file system lost bytes: %d, %v", len(got), err)
			}
		})
	}
}

func write(t *testing.T, path string, b []byte, sync bool) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if !sync {
		return
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

func TestEach(t *testing.T) {
	testfs.Each(t, func(t *testing.T, dir string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "x"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
}

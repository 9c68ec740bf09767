package local_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/internal/testfs"
)

// TestPowerCut cuts the power while parts are published, into directories
// new and old: what was said to be published is there afterwards, and nothing
// that is there is broken.
func TestPowerCut(t *testing.T) {
	for _, kind := range []testfs.Kind{testfs.Ext4, testfs.XFS, testfs.Btrfs} {
		t.Run(string(kind), func(t *testing.T) {
			disk := testfs.NewPowerCut(t, kind, 128)
			s := open(t, disk.Dir())
			for round := range 4 {
				published := publishSome(t, s, round)
				after := open(t, disk.Cut(t))
				for k, body := range published {
					info, err := after.Stat(t.Context(), k)
					if err != nil || !info.Owned || info.Size != int64(len(body)) {
						t.Errorf("round %d: after the cut Stat(%q) = %+v, %v, want %d bytes", round, k, info, err, len(body))
					}
				}
			}
		})
	}
}

// publishSome returns what was published, by several writers at once.
func publishSome(t *testing.T, s backend.Store, round int) map[backend.Key]string {
	t.Helper()
	published := map[backend.Key]string{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for writer := range 4 {
		wg.Go(func() {
			for i := range 8 {
				k := backend.Key(fmt.Sprintf("b%d/%d/deep/part-%d-%d", i%3, round, writer, i))
				body := fmt.Sprintf("%01000d", i)
				st, err := s.Stage(t.Context(), object(k, []byte(body)))
				if err == nil {
					_, err = st.Commit(t.Context())
				}
				if err != nil {
					t.Errorf("publish %q: %v", k, err)
					return
				}
				mu.Lock()
				published[k] = body
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return published
}

// TestLookIsProof: what Stat shows of ours survives a power cut, although
// whoever published it was killed before it could sync the directory.
func TestLookIsProof(t *testing.T) {
	for _, kind := range []testfs.Kind{testfs.Ext4, testfs.XFS, testfs.Btrfs} {
		t.Run(string(kind), func(t *testing.T) {
			disk := testfs.NewPowerCut(t, kind, 128)
			linkAndDie(t, disk.Dir(), "new/dir/a")
			if _, err := open(t, disk.Cut(t)).Stat(t.Context(), "new/dir/a"); err == nil {
				t.Error("the name is durable although nothing was synced: the test proves nothing")
			}
			info, err := open(t, disk.Dir()).Stat(t.Context(), "new/dir/a")
			if err != nil || !info.Owned {
				t.Fatalf("Stat = %+v, %v", info, err)
			}
			if again, err := open(t, disk.Cut(t)).Stat(t.Context(), "new/dir/a"); err != nil || again.Checksum != info.Checksum {
				t.Errorf("after the cut Stat = %+v, %v, want %+v", again, err, info)
			}
		})
	}
}

// linkAndDie leaves what a process leaves that is killed between link and
// fsync.
func linkAndDie(t *testing.T, dir, path string) {
	t.Helper()
	put(t, open(t, dir), "made", "body")
	path = filepath.Join(dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "made"), path); err != nil {
		t.Fatal(err)
	}
}

package spool_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/internal/testfs"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// TestScanOfManyFiles: 10,000 sources are known at once after a restart, and
// their sizes at every barrier.
func TestScanOfManyFiles(t *testing.T) {
	testfs.Each(t, func(t *testing.T, dir string) {
		t.Helper()
		const files, perDir = 10_000, 500
		tree := open(t, dir)
		start := time.Now()
		var d *spool.Node
		for i := range files {
			if i%perDir == 0 {
				d = mkdirAll(t, tree, fmt.Sprintf("dir%d", i/perDir))
			}
			n := create(t, tree, d, fmt.Sprintf("app-%d.log", i), spool.Stream)
			if i%10 == 0 {
				must(t, tree.Unlink(n))
			}
		}
		created := time.Since(start)
		must(t, tree.Close())

		start = time.Now()
		tree = open(t, dir)
		scanned := time.Since(start)
		nodes := tree.All()
		start = time.Now()
		for _, n := range nodes {
			if _, err := n.Size(); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%d nodes: create %v, scan %v, sizes %v", len(nodes), created, scanned, time.Since(start))
		if len(nodes) != files+files/perDir+1 {
			t.Errorf("%d nodes after restart", len(nodes))
		}
		if scanned > 2*time.Second { // takes a twentieth; a scan that reads data or syncs takes longer
			t.Errorf("scan took %v", scanned)
		}
	})
}

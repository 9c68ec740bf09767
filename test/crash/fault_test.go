package crash_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/internal/fault"
	"github.com/sinkfs/sinkfs/test/harness"
)

// hitWithin is how long a point may take to be reached.
const hitWithin = 40 * time.Second

// TestFaultPoints walks every point: the worker is killed there, and it fails
// there. A point that is never reached fails the test.
func TestFaultPoints(t *testing.T) {
	binary := harness.Binary(t, "faults")
	for _, p := range fault.Points() {
		if p == fault.StoreBegun {
			continue // a directory knows no uploads
		}
		t.Run(string(p), func(t *testing.T) {
			t.Parallel()
			for k := range given.hits {
				n := nth(p, k)
				t.Run(fmt.Sprint("kill@", n), func(t *testing.T) { injure(t, binary, p, "kill", n, tolerance{}, local()) })
				t.Run(fmt.Sprint("error@", n), func(t *testing.T) { injure(t, binary, p, "error", n, errorAt(p), local()) })
			}
		})
	}
}

// TestFaultPointsStores kills the worker at every point while it publishes to
// an object store: at one kind after the other, or at all of them where more
// than one hit of each point is asked for.
func TestFaultPointsStores(t *testing.T) {
	binary := harness.Binary(t, "faults")
	for i, p := range fault.Points() {
		kinds := storeKinds()
		if given.hits == 1 {
			kinds = kinds[i%len(kinds):][:1]
		}
		for _, kind := range kinds {
			t.Run(string(p)+"/"+kind, func(t *testing.T) {
				t.Parallel()
				for k := range given.hits {
					n := nth(p, k)
					t.Run(fmt.Sprint("kill@", n), func(t *testing.T) { injure(t, binary, p, "kill", n, tolerance{}, store(t, kind)("faults")) })
				}
			})
		}
	}
}

// nth is at which hit of a point the k-th round acts. The first transactions
// of a journal come before anybody writes.
func nth(p fault.Point, k int) int {
	hits := []int{1, 4, 9}
	switch p {
	case fault.JournalWrite, fault.JournalCommit:
		hits = []int{4, 1, 9}
	case fault.StoreBegun, fault.StoreTemp, fault.StoreLinked: // once for a large file
		hits = []int{1, 2, 3}
	case fault.HandoverAdopted:
		return 1 // each hand-over is another process
	}
	return hits[k%len(hits)] + k/len(hits)*10
}

// errorAt is what an injected error does to the programs that write: where it
// is the answer to a call, that call fails.
func errorAt(p fault.Point) tolerance {
	switch p {
	case fault.SpoolCreate, fault.SpoolBase, fault.WriteApplied:
		return tolerance{calls: 1, checkpoints: true}
	case fault.HandoverAdopted: // the connection is given up, as after the death of a supervisor
		return tolerance{calls: 1 << 30, checkpoints: true, wait: true}
	}
	return tolerance{checkpoints: true}
}

// injure has everyone write until the fault has happened, and a little
// longer; then it drains the mount and compares.
func injure(t *testing.T, binary string, p fault.Point, action string, hit int, may tolerance, at place) {
	dir := t.TempDir()
	l := lab(t, binary, dir, at)
	once := filepath.Join(dir, "once")
	l.Env = append(l.Env, fmt.Sprintf("%s=%s=%s@%d", fault.Env, p, action, hit), fault.OnceEnv+"="+once)
	happened := func() bool { _, err := os.Lstat(once); return err == nil }

	limit := yardstick(t.Context(), binary)
	n := lane{place: at, may: may, disturb: func(ctx context.Context, l *harness.Lab) error {
		ctx, cancel := context.WithTimeout(ctx, hitWithin)
		defer cancel()
		if p == fault.HandoverAdopted {
			if _, err := l.KillWorker(ctx, 0); err != nil {
				return err
			}
		}
		return harness.Await(ctx, "fault at "+string(p), happened)
	}}
	o, err := n.run(t.Context(), l, harness.Few(l))
	if err == nil {
		err = errors.Join(o.audit(t.Context(), l), o.tidy(t.Context(), l))
	}
	t.Log(o)
	if err != nil {
		t.Error(err)
	}
	may.longest = limit()
	o.check(t, may)
	if p == fault.ReleaseDone && action == "kill" && err == nil {
		punched(t, filepath.Join(l.State, "spool", "tree"))
	}
}

// punched checks that what was released is given back, although nobody came
// to it at first: whatever stream it was of.
func punched(t *testing.T, tree string) {
	t.Helper()
	released := 0
	err := filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		done, err := releasedUpTo(f)
		if err != nil || done == 0 {
			return err
		}
		released++
		data, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_DATA)
		if err == nil && data < done {
			t.Errorf("%s: of %d bytes that were released those from %d on still take their space", path, done, data)
		}
		if errors.Is(err, unix.ENXIO) {
			err = nil // a hole to its end
		}
		return err
	})
	if err != nil || released == 0 {
		t.Errorf("%d streams were released, %v", released, err)
	}
}

// releasedUpTo reads what the spool notes of a file: version, kind, flags,
// base, done.
func releasedUpTo(f *os.File) (int64, error) {
	buf := make([]byte, 512)
	n, err := unix.Fgetxattr(int(f.Fd()), "user.sinkfs.source", buf)
	if err == nil && n < 19 {
		err = fmt.Errorf("%s: its attribute has %d bytes", f.Name(), n)
	}
	return int64(binary.BigEndian.Uint64(buf[11:])), err
}

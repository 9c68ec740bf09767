// Package model_test compares a mount of the real program with a small model
// of it, call by call: random sequences of calls by several handles, what each
// answers, and what each checkpoint publishes. The model is written from
// docs/SEMANTICS.md and knows nothing of how the program works.
package model_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sinkfs/sinkfs/internal/testfs"
	"github.com/sinkfs/sinkfs/test/harness"
)

// options are the flags of this test binary; the defaults fit go test ./...
type options struct {
	sequences int
	short     int
	runners   int
}

// given is what was said on the command line, before the tests run.
var given options

func TestMain(m *testing.M) {
	flag.IntVar(&given.sequences, "model.sequences", 10_000, "sequences of calls, with passthrough and without")
	flag.IntVar(&given.short, "model.short", 2_000, "sequences of calls with -short")
	flag.IntVar(&given.runners, "model.runners", 100, "sequences at a time: all wait for each other's checkpoints")
	flag.Parse()
	steps := "30"
	if testing.Short() {
		steps = "60" // of which rapid does half
	}
	if err := flag.Set("rapid.steps", steps); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(harness.Run(m))
}

const config = `checkpoint: {interval: 0s, retain: 1}
sinks:
  - path: /
    bucket: {assigner: base-path}
  - path: /files
    kind: file
`

// TestMountAgainstModel: no call of a random sequence answers other than the
// model, no checkpoint publishes anything else. One of ten sequences runs
// where the kernel cannot append by itself.
func TestMountAgainstModel(t *testing.T) {
	total := given.sequences
	if testing.Short() {
		total = given.short
	}
	for how, part := range map[string]int{"auto": 9, "off": 1} {
		t.Run("passthrough="+how, func(t *testing.T) {
			l := place(t, how)
			run(t, l, total*part/10)
			// Nothing of all that is left to publish.
			if code, out, err := l.Umount(t.Context()); code != 0 || err != nil {
				t.Errorf("umount: %d, %v\n%s", code, err, out)
			}
		})
	}
}

// place is a mount on memory: nothing here is about what a disk keeps.
func place(t *testing.T, passthrough string) *harness.Lab {
	t.Helper()
	dir := testfs.New(t, testfs.Tmpfs, 4096)
	l := harness.NewLab(t, harness.Binary(t, ""), dir)
	file := filepath.Join(dir, "sinkfs.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	l.Args = append(l.Args, "--config", file, "--passthrough", passthrough)
	if err := l.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

// run has several runners go through sequences, each in a directory of its
// own. They meet at checkpoints only.
func run(t *testing.T, l *harness.Lab, sequences int) {
	t.Helper()
	runners := min(given.runners, sequences)
	each := (sequences + runners - 1) / runners
	if testing.Short() {
		each *= 5 // of which rapid does a fifth
	}
	if err := flag.Set("rapid.checks", strconv.Itoa(each)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	c := newCrew(l, runners)
	var all sync.WaitGroup
	for i := range runners {
		all.Go(func() {
			defer c.leave()
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				rapid.Check(t, func(rt *rapid.T) { sequence(rt, c) })
			})
		})
	}
	all.Wait()
	t.Logf("%d sequences, %d calls, %d checkpoints (%v) in %v", c.sequences.Load(), c.calls.Load(), c.checkpoints, c.publishing, time.Since(began))
	for _, what := range slices.Sorted(maps.Keys(c.answers)) {
		t.Logf("%7d %s", c.answers[what], what)
	}
	for _, what := range rare {
		if sequences > enough && c.answers[what] == 0 {
			t.Errorf("%d sequences without %q prove little", sequences, what)
		}
	}
}

// enough sequences have each of the rare answers among theirs.
const enough = 5_000

var rare = []string{ // of each refusal one
	"open EPERM", "open EEXIST", "open EISDIR", "write ESPIPE", "write EBADF", "pwrite ESPIPE", "read EBADF", "ftruncate EPERM", "truncate EPERM",
	"rename EPERM", "rename EEXIST", "rename EXDEV", "rename ENOTEMPTY", "rename EISDIR", "rename ENOTDIR", "rename EINVAL", "unlink EPERM",
	"unlink EISDIR", "rmdir ENOTEMPTY", "rmdir ENOTDIR", "mkdir EEXIST", "chmod EPERM", "utimens EPERM", "link EPERM", "symlink EPERM",
	"mknod EPERM", "mkfifo EPERM", "setxattr ENOTSUP", "getxattr ENODATA", "published part", "published file",
}

// sequence is one sequence of calls and what must come of it.
func sequence(rt *rapid.T, c *crew) {
	w := newWorld(rt, c)
	defer w.closeAll()
	rt.Repeat(map[string]func(*rapid.T){"call": w.call})
	w.end()
}

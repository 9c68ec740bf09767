package crash_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sinkfs/sinkfs/test/harness"
)

// longestWait is what a program may notice of the death of a worker, on a
// machine that starts a process in quickStart. On a busier one it is longer by
// as much as the start of a process is.
const (
	longestWait = 2 * time.Second
	quickStart  = 100 * time.Millisecond
)

// yardstick starts processes all the time, to learn how long that takes here
// and now. The func it returns stops that, and is the longest that a program
// may wait for the next worker.
func yardstick(ctx context.Context, binary string) (limit func() time.Duration) {
	ctx, stop := context.WithCancel(ctx)
	longest := make(chan time.Duration, 1)
	go func() {
		slowest := quickStart
		for ctx.Err() == nil {
			begun := time.Now()
			if exec.CommandContext(ctx, binary, "version").Run() == nil {
				slowest = max(slowest, time.Since(begun))
			}
			harness.Pass(ctx, quickStart)
		}
		longest <- slowest
	}()
	return func() time.Duration {
		stop()
		return time.Duration(float64(longestWait) * float64(<-longest) / float64(quickStart))
	}
}

// patience is how long one mount may take: one that hangs must not hang the
// test, whose processes could not even be killed.
func patience() time.Duration {
	return 4*time.Minute + time.Duration(max(given.kills, given.each))*2*time.Second
}

// TestKillLoopWorker kills only workers: no program may see an error, nor
// wait long.
func TestKillLoopWorker(t *testing.T) {
	kills := killWorkers(share(given.kills*2/5, 3))
	lanes(t, kills.at(local()), kills.at(local()), kills.at(local()))
}

// TestKillLoopSupervisor kills supervisors, workers, and both: programs may
// see errors, but what was acknowledged is published, once.
func TestKillLoopSupervisor(t *testing.T) {
	kills := killAll(share(given.kills*3/5, 3))
	lanes(t, kills.at(local()), kills.at(local()), kills.at(local()))
}

// TestKillLoopJournals is TestKillLoopSupervisor where each death takes the
// journal along, and the next mount has one that is rebuilt.
func TestKillLoopJournals(t *testing.T) {
	losses := loseJournals(share(given.kills/10, 2))
	lanes(t, losses.at(local()), losses.at(local()))
}

// share is the kills of each of so many mounts.
func share(kills, mounts int) int { return (kills + mounts - 1) / mounts }

// TestKillLoopStores does all three at each kind of object store.
func TestKillLoopStores(t *testing.T) {
	for _, kind := range storeKinds() {
		t.Run(kind, func(t *testing.T) {
			p := store(t, kind)
			lanes(t, killWorkers(given.each*2/5).at(p("workers")), killAll(given.each*3/5).at(p("all")), loseJournals(given.each/10).at(p("journals")))
		})
	}
}

// lane is a mount at a place, and what is done to it.
type lane struct {
	place
	name    string
	disturb func(ctx context.Context, l *harness.Lab) error
	may     tolerance
	args    []string
}

// at is the lane at another place.
func (n lane) at(p place) lane {
	n.place = p
	return n
}

// lanes are run at the same time: one mount alone is killed slowly, for a
// worker has to live a while.
func lanes(t *testing.T, all ...lane) {
	t.Helper()
	binary := harness.Binary(t, "")
	var group errgroup.Group
	limit := yardstick(t.Context(), binary)
	labs, results := make([]*harness.Lab, len(all)), make([]*outcome, len(all))
	for i, n := range all {
		l := lab(t, binary, t.TempDir(), n.place)
		l.Args = append(l.Args, n.args...)
		labs[i] = l
		group.Go(func() error {
			r, err := n.run(t.Context(), l, harness.Everyone(l))
			results[i] = r
			return err
		})
	}
	err := group.Wait()
	slowest := limit()
	for i, l := range labs { // MinIO cannot tell the uploads of two buckets apart
		if err == nil {
			err = results[i].audit(t.Context(), l)
		}
	}
	for i, n := range all {
		if err == nil {
			err = results[i].tidy(t.Context(), labs[i])
		}
		t.Logf("%s: %v; a call may take %v here", n.name, results[i], slowest.Round(time.Millisecond))
		n.may.longest = slowest
		results[i].check(t, n.may)
	}
	if err != nil {
		t.Error(err)
	}
}

// tolerance is what programs may notice.
type tolerance struct {
	calls       int  // that fail, at most
	checkpoints bool // may fail
	wait        bool // may be as long as it is
	late        bool // records may come in parts behind those of newer ones
	longest     time.Duration
}

// outcome is what one mount went through.
type outcome struct {
	harness.Summary
	wrong       []string
	looks       int
	uploads     int      // that the dead left behind, before gc
	checkpoints int      // that succeeded
	declined    []string // checkpoints that failed
}

func (o *outcome) String() string {
	return fmt.Sprintf("%v; %d checkpoints succeeded, %d failed; %d looks; %d uploads for gc", o.Summary, o.checkpoints, len(o.declined), o.looks, o.uploads)
}

func (o *outcome) check(t *testing.T, may tolerance) {
	t.Helper()
	if o.looks == 0 || o.Records == 0 {
		t.Errorf("%d looks at %d records: nothing was tested", o.looks, o.Records)
	}
	if len(o.wrong) > 0 {
		t.Errorf("wrong:\n%s", harness.Problems(o.wrong))
	}
	if o.Failed > may.calls || o.Refused > may.calls {
		t.Errorf("%d calls failed, %d records were refused, want at most %d:\n%s", o.Failed, o.Refused, may.calls, harness.Problems(o.Errors))
	}
	if len(o.declined) > 0 && !may.checkpoints {
		t.Errorf("checkpoints failed:\n%s", harness.Problems(o.declined))
	}
	if o.Longest > may.longest && !may.wait {
		t.Errorf("longest call %v (%s), want at most %v", o.Longest, o.Slowest, may.longest)
	}
}

// run mounts, has everyone write while disturb does its worst, then drains the
// mount and compares.
func (n lane) run(ctx context.Context, l *harness.Lab, writers []harness.Writer) (*outcome, error) {
	o := &outcome{}
	ctx, cancel := context.WithTimeout(ctx, patience())
	defer cancel()
	defer l.AbortAfter(ctx)()
	crew, err := begin(ctx, l, n.staff(l, writers))
	if err != nil {
		return o, err
	}
	crew.Rest = n.rest()
	w := harness.NewWatcher(l)
	w.MountMayFail = n.may.calls > 1
	watching, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { w.Run(watching) })
	group.Go(func() { o.checkpoints, o.declined = crew.Inquire(watching, w) })
	err = crew.Wrote(ctx, 1)
	if err == nil {
		err = n.disturb(ctx, l)
	}
	if err == nil {
		err = crew.Wrote(ctx, 5)
	}
	stop()
	group.Wait()
	if err := errors.Join(err, crew.Stop(ctx)); err != nil {
		return o, err
	}
	return o, o.finish(ctx, l, crew, w, n.may.late)
}

// begin mounts and starts writers.
func begin(ctx context.Context, l *harness.Lab, writers []harness.Writer) (*harness.Crew, error) {
	if err := l.Start(ctx); err != nil {
		// A fault at the very first start: the next one must not mind.
		if err := l.Start(ctx); err != nil {
			return nil, err
		}
	}
	for _, dir := range harness.Sinks() {
		if err := os.MkdirAll(filepath.Join(l.Mount, dir), 0o755); err != nil {
			return nil, err
		}
	}
	return harness.Hire(ctx, l, writers)
}

// finish drains the mount and compares what is in the target with what the
// writers were told.
func (o *outcome) finish(ctx context.Context, l *harness.Lab, crew *harness.Crew, w *harness.Watcher, late bool) error {
	var err error
	if o.Summary, err = crew.Summary(); err != nil {
		return err
	}
	drained, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	code, output, err := l.Umount(drained)
	if err != nil {
		return err
	}
	if code != 0 {
		o.wrong = append(o.wrong, fmt.Sprintf("umount ended with %d: %s", code, output))
	}
	w.Final(ctx)
	seen, looks := w.Wrong()
	o.looks = looks
	o.wrong = append(o.wrong, seen...)
	claims, err := crew.Claims()
	if err != nil {
		return err
	}
	for i := range claims {
		claims[i].Late = late
	}
	wrong, err := harness.Verify(ctx, l.Shelf(), harness.Sinks(), claims)
	o.wrong = append(o.wrong, wrong...)
	return errors.Join(err, beneath(l, o))
}

// audit has fsck explain everything that is there, and gc remove what nobody
// will ever complete.
func (o *outcome) audit(ctx context.Context, l *harness.Lab) error {
	var err error
	if o.uploads, err = l.Shelf().Uploads(ctx); err != nil {
		return err
	}
	for _, args := range [][]string{{"fsck", "--bodies"}, {"gc", "--delete"}, {"fsck"}} {
		code, output, err := l.Audit(ctx, args...)
		if err != nil {
			return err
		}
		if code != 0 {
			o.wrong = append(o.wrong, fmt.Sprintf("%s ended with %d: %.2000s", args[0], code, output))
		}
	}
	return nil
}

// tidy finds what gc should have removed.
func (o *outcome) tidy(ctx context.Context, l *harness.Lab) error {
	left, err := l.Shelf().Uploads(ctx)
	if left > 0 {
		o.wrong = append(o.wrong, fmt.Sprintf("%d uploads are left behind gc", left))
	}
	return err
}

// beneath looks for what landed below the mount while it was not there.
func beneath(l *harness.Lab, o *outcome) error {
	entries, err := os.ReadDir(l.Mount)
	for _, e := range entries {
		o.wrong = append(o.wrong, fmt.Sprintf("%s was written beneath the mount", e.Name()))
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// killWorkers kills workers of every age. A supervisor gives up when many in a
// row are killed before they serve, so now and then one gets so far, and older.
func killWorkers(kills int) lane {
	return lane{name: fmt.Sprintf("%d kills of workers", kills), disturb: func(ctx context.Context, l *harness.Lab) error {
		last := 0
		for i := range kills {
			if i%4 == 3 {
				if err := l.Answer(); err != nil {
					return err
				}
				harness.Pass(ctx, rand.N(4*time.Second))
			}
			harness.Pass(ctx, rand.N(1200*time.Millisecond))
			var err error
			if last, err = l.KillWorker(ctx, last); err != nil {
				return err
			}
		}
		_, err := l.NextWorker(ctx, last)
		return err
	}}
}

// killAll kills workers, supervisors or both, and mounts again after each
// death of a supervisor.
func killAll(kills int) lane {
	may := tolerance{calls: 1 << 30, checkpoints: true, wait: true}
	return lane{name: fmt.Sprintf("%d kills of anything", kills), may: may, args: []string{"--protect-mountpoint"}, disturb: func(ctx context.Context, l *harness.Lab) error {
		last, inARow := 0, 0
		for range kills {
			harness.Pass(ctx, rand.N(1000*time.Millisecond))
			if inARow < 3 && rand.N(2) == 0 {
				inARow++
				var err error
				if last, err = l.KillWorker(ctx, last); err != nil {
					return err
				}
				continue
			}
			inARow = 0
			if err := l.KillSupervisor(rand.N(2) == 0); err != nil {
				return err
			}
			if err := l.Start(ctx); err != nil {
				return err
			}
		}
		return nil
	}}
}

// loseJournals kills supervisor and worker, removes the journal, and has it
// rebuilt before it mounts again. Programs with open files go on writing.
func loseJournals(kills int) lane {
	may := tolerance{calls: 1 << 30, checkpoints: true, wait: true, late: true}
	return lane{name: fmt.Sprintf("%d lost journals", kills), may: may, args: []string{"--protect-mountpoint"}, disturb: func(ctx context.Context, l *harness.Lab) error {
		for range kills {
			harness.Pass(ctx, rand.N(3000*time.Millisecond))
			if err := l.KillSupervisor(true); err != nil {
				return err
			}
			if err := os.RemoveAll(filepath.Join(l.State, "journal")); err != nil {
				return err
			}
			code, output, err := l.Audit(ctx, "journal", "restore", "--from-target")
			if err != nil {
				return err
			}
			if code != 0 {
				return fmt.Errorf("restore ended with %d: %.2000s", code, output)
			}
			if err := l.Start(ctx); err != nil {
				return err
			}
		}
		return nil
	}}
}
